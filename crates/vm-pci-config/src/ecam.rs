//! The Enhanced Configuration Access Mechanism: configuration space as memory (PCIe Base 7.2.2).

use crate::PciConfigError;
use crate::function::{ConfigAccess, PciFunction};

/// A memory window in which every function has 4 KiB, beginning with bus 0.
///
/// ```
/// use vm_pci_config::{EcamWindow, PciFunction};
///
/// let window = EcamWindow::new(256)?;
/// assert_eq!(window.size(), 256 << 20);
///
/// let access = window.decode(0x0001_8004).expect("inside of the window");
/// assert_eq!(access.function, PciFunction::new(0, 3, 0)?);
/// assert_eq!(access.offset, 4);
/// # Ok::<(), vm_pci_config::PciConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EcamWindow {
    buses: u16,
}

impl EcamWindow {
    /// A window for buses 0 to `buses - 1`; a segment has 256 at most.
    pub fn new(buses: u16) -> Result<Self, PciConfigError> {
        if (1..=256).contains(&buses) {
            Ok(Self { buses })
        } else {
            Err(PciConfigError::BusCountOutOfRange { buses })
        }
    }

    /// The window's size: 1 MiB for each bus.
    pub fn size(&self) -> u64 {
        u64::from(self.buses) << 20
    }

    /// The access that `offset` in the window means, if it lies inside.
    ///
    /// Its offset has 12 bits. An access that runs past the 4 KiB of a function stays with that function,
    /// where there is nothing: it does not reach the next one.
    pub fn decode(&self, offset: u64) -> Option<ConfigAccess> {
        if offset >= self.size() {
            return None;
        }
        let id = u16::try_from(offset >> 12).ok()?;
        let offset = u16::try_from(offset & 0xfff).ok()?;
        Some(ConfigAccess { function: PciFunction::from_requester_id(id), offset })
    }
}
