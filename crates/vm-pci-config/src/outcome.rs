//! What a write changed, as far as the VMM has to act on it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::{BarChange, CapabilityId, CommandChange, PciCapConfigWriteResult};

/// Everything that one write, or a reset, asks of the VMM; mostly it is empty, and then nothing was allocated.
///
/// ```
/// use vm_pci_config::{Bar, BarIndex, Identity, PciConfigSpace, Prefetchable};
///
/// let mut space = PciConfigSpace::new(Identity::new(0x1af4, 0x1041))?;
/// space.add_bar(BarIndex::Bar0, Bar::memory32(0x4000, Prefetchable::No).at(0xc000_0000))?;
///
/// // The guest sets Memory Space Enable and Bus Master Enable.
/// let outcome = space.write(0x04, &[0x06, 0x00]);
/// assert_eq!(outcome.command.and_then(|c| c.bus_master()), Some(true));
/// for change in &outcome.bars {
///     assert_eq!(change.index, BarIndex::Bar0);
///     assert_eq!(change.before, None);
///     assert_eq!(change.after.map(|bar| bar.start()), Some(0xc000_0000));
/// }
/// assert_eq!(outcome.bars.len(), 1);
/// # Ok::<(), vm_pci_config::PciConfigError>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "it says which BARs to map and what a capability wants done"]
#[non_exhaustive]
pub struct WriteOutcome {
    /// The Command register, if it changed.
    pub command: Option<CommandChange>,
    /// The BARs that began, ceased or changed to be decoded, by Command or by their own registers, lowest first.
    pub bars: Vec<BarChange>,
    /// What live capabilities returned, in the order of the bytes; two at most.
    pub capabilities: Vec<CapabilityWrite>,
}

impl WriteOutcome {
    /// Whether the VMM has nothing to do.
    pub fn is_empty(&self) -> bool {
        self.command.is_none() && self.bars.is_empty() && self.capabilities.is_empty()
    }
}

/// What one live capability returned for the bytes that reached one of its registers.
#[derive(Debug)]
pub struct CapabilityWrite {
    /// The capability's offset, as `add_capability_with_config` returned it.
    pub offset: u16,
    /// The capability's ID.
    pub id: CapabilityId,
    /// The result itself, to be downcast to the type that the capability returns.
    pub result: Box<dyn PciCapConfigWriteResult>,
}
