//! A device behind a capability, and a configuration space around it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use vm_pci_config::{
    CapabilityId, Identity, PciCapConfig, PciCapConfigWriteResult, PciCapMapping, PciConfigSpace,
    PlainCapability,
};

#[derive(Debug, PartialEq)]
pub(crate) struct Wrote(pub(crate) usize, pub(crate) u64, pub(crate) Vec<u8>);
impl PciCapConfigWriteResult for Wrote {}

#[derive(Debug, PartialEq)]
pub(crate) struct Other;
impl PciCapConfigWriteResult for Other {}

/// A device that answers with constants, counts what it is asked and returns what it is told.
pub(crate) struct Device {
    pub(crate) read_mask: &'static [u32],
    pub(crate) num_regs: usize,
    pub(crate) answers: [u32; 3],
    pub(crate) reads: Arc<AtomicUsize>,
    pub(crate) mapping: mpsc::Sender<PciCapMapping>,
    pub(crate) silent: bool,
}

impl PciCapConfig for Device {
    fn read_mask(&self) -> &'static [u32] {
        self.read_mask
    }

    fn read_reg(&self, reg_idx: usize) -> u32 {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.answers[reg_idx]
    }

    fn write_reg(
        &mut self,
        reg_idx: usize,
        offset: u64,
        data: &[u8],
    ) -> Option<Box<dyn PciCapConfigWriteResult>> {
        (!self.silent).then(|| Box::new(Wrote(reg_idx, offset, data.to_vec())) as _)
    }

    fn set_cap_mapping(&mut self, mapping: PciCapMapping) {
        self.mapping.send(mapping).unwrap();
    }

    fn num_regs(&self) -> usize {
        self.num_regs
    }
}

pub(crate) struct Rig {
    pub(crate) space: PciConfigSpace,
    pub(crate) reads: Arc<AtomicUsize>,
    pub(crate) mapping: PciCapMapping,
}

pub(crate) fn device() -> (Device, Arc<AtomicUsize>, mpsc::Receiver<PciCapMapping>) {
    let (mapping, receiver) = mpsc::channel();
    let reads = Arc::new(AtomicUsize::new(0));
    let device = Device {
        read_mask: &[0xc000_0000, 0, 0xffff_ffff],
        num_regs: 3,
        answers: [0xbfff_ffff, 0xffff_ffff, 0x8765_4321],
        reads: Arc::clone(&reads),
        mapping,
        silent: false,
    };
    (device, reads, receiver)
}

pub(crate) fn msix_shaped() -> PlainCapability {
    PlainCapability::new(CapabilityId::MSIX, &[0x07, 0x40, 0x10, 0x20, 0x30, 0x40, 1, 2, 3, 4])
        .writable(&[0x8000_0000, 0x0000_ff00, 0])
}

/// Neighbours on both sides: the live capability is at 0x44 to 0x4f.
pub(crate) fn rig() -> Rig {
    let neighbour = PlainCapability::new(CapabilityId::VENDOR_SPECIFIC, &[4, 0xee]);
    let mut space = PciConfigSpace::new(Identity::new(0x1234, 0x5678)).unwrap();
    let (device, reads, mappings) = device();
    space.add_capability(&neighbour).unwrap();
    assert_eq!(space.add_capability_with_config(&msix_shaped(), Box::new(device)), Ok(0x44));
    assert_eq!(space.add_capability(&neighbour), Ok(0x50));
    let mapping = mappings.recv().unwrap();
    assert!(mappings.try_recv().is_err(), "the mapping is handed out once");
    Rig { space, reads, mapping }
}
