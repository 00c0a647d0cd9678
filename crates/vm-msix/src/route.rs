//! The one decision (C1): what a vector does with a signal now.

use crate::MsiMessage;
use crate::control::MessageControl;
use crate::table::TableEntry;

/// What one vector does with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// The signal is latched: it shows as Pending Bit and waits.
    Closed,
    /// The signal sends this message.
    Open(MsiMessage),
}

/// The route that the registers ask for. Nothing else decides, anywhere.
///
/// A vector may send if MSI-X is enabled, neither Function Mask nor its Mask Bit is set
/// (PCIe Base 6.1.4.4), and the function may write to memory at all: Bus Master Enable (7.5.1.1.3), and no pause.
#[inline]
pub(crate) fn desired(control: MessageControl, may_write: bool, entry: &TableEntry) -> Route {
    if control.enabled && !control.function_masked && may_write && !entry.masked {
        Route::Open(entry.message())
    } else {
        Route::Closed
    }
}
