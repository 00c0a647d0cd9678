//! A device behind a capability: what it shows is known, and what it hears is written down.

use std::sync::{Arc, Mutex};

use vm_pci_config::{PciCapConfig, PciCapConfigWriteResult, PciCapMapping};

/// What the device supplies of each register, as many as there is room for.
pub(super) const MASKS: [u32; 48] = {
    let mut masks = [0xff00_00f0; 48];
    masks[0] = 0xc000_0000;
    masks
};

/// What the device has in every register.
pub(super) const SHOWN: u32 = 0x9abc_def0;

#[derive(Clone, Debug)]
pub(super) struct Device {
    registers: usize,
    mapping: Arc<Mutex<Option<PciCapMapping>>>,
}

/// The register, the byte in it, and the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard(pub(super) usize, pub(super) u64, pub(super) Vec<u8>);

impl PciCapConfigWriteResult for Heard {}

impl Device {
    pub(super) fn new(registers: u8) -> Self {
        let registers = usize::from(registers).min(MASKS.len());
        Self { registers, mapping: Arc::default() }
    }

    /// The handle that it was given.
    pub(super) fn mapping(&self) -> PciCapMapping {
        self.mapping.lock().unwrap().clone().unwrap()
    }
}

impl PciCapConfig for Device {
    fn read_mask(&self) -> &'static [u32] {
        &MASKS[..self.registers]
    }

    fn read_reg(&self, _reg_idx: usize) -> u32 {
        SHOWN
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
        self.registers
    }
}
