//! A device behind a capability: what it shows is known, and what it hears is written down.

use std::sync::{Arc, Mutex};

use vm_pci_config::{PciCapConfig, PciCapConfigWriteResult, PciCapMapping};

#[derive(Clone, Debug)]
pub(crate) struct Device {
    read_mask: &'static [u32],
    /// What it has in a register.
    shown: fn(usize) -> u32,
    mapping: Arc<Mutex<Option<PciCapMapping>>>,
}

/// The register, the byte in it, and the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard(pub(crate) usize, pub(crate) u64, pub(crate) Vec<u8>);

impl PciCapConfigWriteResult for Heard {}

impl Device {
    /// With a register for each mask.
    pub(crate) fn new(read_mask: &'static [u32], shown: fn(usize) -> u32) -> Self {
        Self { read_mask, shown, mapping: Arc::default() }
    }

    /// The handle that it was given.
    pub(crate) fn mapping(&self) -> PciCapMapping {
        self.mapping.lock().unwrap().clone().unwrap()
    }
}

impl PciCapConfig for Device {
    fn read_mask(&self) -> &'static [u32] {
        self.read_mask
    }

    fn read_reg(&self, reg_idx: usize) -> u32 {
        (self.shown)(reg_idx)
    }

    fn write_reg(
        &mut self,
        reg_idx: usize,
        offset: u64,
        data: &[u8],
    ) -> Option<Box<dyn PciCapConfigWriteResult>> {
        Some(Box::new(Heard(reg_idx, offset, data.to_vec())))
    }

    fn set_cap_mapping(&mut self, mapping: PciCapMapping) {
        *self.mapping.lock().unwrap() = Some(mapping);
    }

    fn num_regs(&self) -> usize {
        self.read_mask.len()
    }
}
