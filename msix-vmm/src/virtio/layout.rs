//! Where the registers lie in BAR 0, and the vendor capabilities that say so (virtio 1.2, 4.1.4).

use vm_msix::MsixLayout;
use vm_pci_config::{
    Bar, BarIndex, CapabilityId, Identity, InterruptPin, PciConfigError, PciConfigSpace,
    PlainCapability, Prefetchable,
};

use super::serve::Model;
use super::spec::{self, cfg_type, common};

/// The BAR of the registers.
pub(super) const REGISTERS: BarIndex = BarIndex::Bar0;
/// The BAR of MSI-X Table and PBA.
pub(super) const MSIX: BarIndex = BarIndex::Bar2;
/// Each structure has a page of its own.
const PAGE: u32 = 0x1000;
/// Bytes between the notification addresses of two queues.
const NOTIFY_MULTIPLIER: u32 = 4;
/// Where the window's data is in its capability.
pub(super) const WINDOW_DATA: u16 = 16;

/// The structures in BAR 0, in the order of their pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Structure {
    Common,
    Isr,
    Device,
    Notify,
}

impl Structure {
    const ALL: [Self; 4] = [Self::Common, Self::Isr, Self::Device, Self::Notify];

    /// Where an offset of the BAR belongs.
    pub(super) fn locate(offset: u64) -> Option<(Self, u64)> {
        let page = usize::try_from(offset / u64::from(PAGE)).ok()?;
        Some((*Self::ALL.get(page)?, offset % u64::from(PAGE)))
    }

    fn offset(self) -> u32 {
        self as u32 * PAGE
    }

    /// Its capability: type, length, and what is behind the common part.
    fn capability(self) -> PlainCapability {
        match self {
            Self::Common => capability(cfg_type::COMMON, self.offset(), common::SIZE as u32, &[]),
            Self::Isr => capability(cfg_type::ISR, self.offset(), 1, &[]),
            Self::Device => capability(cfg_type::DEVICE, self.offset(), PAGE, &[]),
            Self::Notify => {
                let multiplier = NOTIFY_MULTIPLIER.to_le_bytes();
                capability(cfg_type::NOTIFY, self.offset(), PAGE, &multiplier)
            }
        }
    }
}

/// The queue that a write to the notification structure is for.
pub(super) fn notified_queue(offset: u64) -> usize {
    (offset / u64::from(NOTIFY_MULTIPLIER)) as usize
}

/// The configuration space of a device, and the offset of its window capability.
pub(super) fn space(
    model: &Model,
    msix: &MsixLayout,
) -> Result<(PciConfigSpace, u16), PciConfigError> {
    let id = spec::DEVICE + model.id;
    let identity = Identity::new(spec::VENDOR, id)
        .class(model.class)
        .revision(spec::REVISION)
        .subsystem(spec::VENDOR, id)
        .interrupt_pin(InterruptPin::IntA);
    let mut space = PciConfigSpace::new(identity)?;
    let size = u64::from(PAGE) * Structure::ALL.len() as u64;
    space.add_bar(REGISTERS, Bar::memory32(size, Prefetchable::No))?;
    let size = msix.min_bar_size(MSIX.number());
    space.add_bar(MSIX, Bar::memory64(size, Prefetchable::No))?;
    for structure in Structure::ALL {
        space.add_capability(&structure.capability())?;
    }
    let window = space.add_capability(&window())?;
    Ok((space, window))
}

/// Bytes of a capability before what is its own (4.1.4).
fn capability(cfg_type: u8, offset: u32, length: u32, own: &[u8]) -> PlainCapability {
    // The two bytes of the header are configuration space's.
    let cap_len = 16 + own.len() as u8;
    let mut body = vec![cap_len, cfg_type, REGISTERS.number(), 0, 0, 0];
    body.extend(offset.to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(own);
    PlainCapability::new(CapabilityId::VENDOR_SPECIFIC, &body)
}

/// The window through which a driver that cannot map BARs reaches them (4.1.4.9): BAR, offset and length are its to write.
fn window() -> PlainCapability {
    let bar = 0x0000_00ff;
    capability(cfg_type::PCI, 0, 0, &[0; 4]).writable(&[0, bar, u32::MAX, u32::MAX])
}
