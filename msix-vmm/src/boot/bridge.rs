//! The host bridge, device 0 of the bus: a header and nothing else, by which kernels see that there is a bus.

use std::sync::{Mutex, PoisonError};

use vm_pci_config::{ClassCode, Identity, PciConfigError, PciConfigSpace, PciConfigStateV1};

use crate::device::{PciDevice, VENDOR};

/// "HB".
const DEVICE: u16 = 0x4842;
const HOST_BRIDGE: ClassCode = ClassCode { class: 0x06, subclass: 0x00, prog_if: 0 };

pub(super) struct HostBridge(Mutex<PciConfigSpace>);

impl HostBridge {
    pub(super) fn new() -> Result<Self, PciConfigError> {
        let identity = Identity::new(VENDOR, DEVICE).class(HOST_BRIDGE);
        Ok(Self(Mutex::new(PciConfigSpace::new(identity)?)))
    }

    pub(super) fn save(&self) -> PciConfigStateV1 {
        self.space(|space| space.snapshot())
    }

    pub(super) fn restore(&self, state: &PciConfigStateV1) -> Result<(), PciConfigError> {
        // Nobody has to be told.
        self.space(|space| space.restore(state).map(drop))
    }

    fn space<T>(&self, access: impl FnOnce(&mut PciConfigSpace) -> T) -> T {
        access(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PciDevice for HostBridge {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.space(|space| space.read(offset, data));
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        // Nobody has to be told.
        let _ = self.space(|space| space.write(offset, data));
    }

    fn mmio_read(&self, _address: u64, _data: &mut [u8]) -> bool {
        false
    }

    fn mmio_write(&self, _address: u64, _data: &[u8]) -> bool {
        false
    }
}
