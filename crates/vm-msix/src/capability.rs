//! The MSI-X Capability structure, as bytes for a configuration space (PCIe Base 7.7.2.1).

use crate::error::MsixError;
use crate::layout::MsixLayout;
use crate::spec;

/// The twelve bytes that a function shows in its capability list.
///
/// ```
/// use vm_msix::MsixCap;
///
/// let capability = MsixCap::new(0, 64, 0x0, 0, 0x1000)?;
/// assert_eq!(capability.bytes()[0], 0x11);
/// assert_eq!(capability.bytes()[2], 63); // Table Size is encoded as N-1
/// # Ok::<(), vm_msix::MsixError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixCap {
    layout: MsixLayout,
    bytes: [u8; 12],
}

impl MsixCap {
    /// The capability of a function with `table_size` vectors, the table at `table_off` of BAR `table_bar`, the PBA
    /// at `pba_off` of BAR `pba_bar`.
    ///
    /// # Errors
    ///
    /// Those of [`MsixLayout::new`].
    pub fn new(
        table_bar: u8,
        table_size: u16,
        table_off: u32,
        pba_bar: u8,
        pba_off: u32,
    ) -> Result<Self, MsixError> {
        MsixLayout::new(table_size, table_bar, table_off, pba_bar, pba_off).map(Self::of)
    }

    /// The capability that shows this layout.
    pub fn of(layout: MsixLayout) -> Self {
        let [size_low, size_high] = layout.vectors().get().saturating_sub(1).to_le_bytes();
        let [t0, t1, t2, t3] = layout.table_register().to_le_bytes();
        let [p0, p1, p2, p3] = layout.pba_register().to_le_bytes();
        let next = 0;
        Self {
            layout,
            bytes: [
                spec::CAPABILITY_ID,
                next,
                size_low,
                size_high, // Message Control
                t0,
                t1,
                t2,
                t3, // Table Offset, Table BIR
                p0,
                p1,
                p2,
                p3, // PBA Offset, PBA BIR
            ],
        }
    }

    /// The layout it shows.
    pub fn layout(&self) -> &MsixLayout {
        &self.layout
    }

    /// Its bytes, MSI-X disabled; the next-capability pointer is zero, for the configuration space to set.
    pub fn bytes(&self) -> &[u8; 12] {
        &self.bytes
    }
}
