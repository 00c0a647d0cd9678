//! The PCI bus: ports 0xCF8 and 0xCFC, ECAM where there is one, and the memory of the BARs.

use std::sync::{Arc, Mutex, PoisonError};

use vm_pci_config::{ConfigAccess, ConfigPorts, EcamWindow, PciFunction};

use crate::device::PciDevice;
use crate::machine::Bus;

/// Bus 0, with its devices.
pub(crate) struct PciBus {
    ports: Mutex<ConfigPorts>,
    /// Configuration space as memory, and its address.
    ecam: Option<(u64, EcamWindow)>,
    devices: Vec<(PciFunction, Arc<dyn PciDevice>)>,
}

impl PciBus {
    pub(crate) fn new(devices: Vec<(PciFunction, Arc<dyn PciDevice>)>) -> Self {
        Self { ports: Mutex::new(ConfigPorts::new()), ecam: None, devices }
    }

    /// The bus with its configuration space as memory too, at an address.
    pub(crate) fn with_ecam(self, address: u64, window: EcamWindow) -> Self {
        Self { ecam: Some((address, window)), ..self }
    }

    /// What the guest selected by port 0xCF8.
    pub(crate) fn selected(&self) -> u32 {
        self.ports(|ports| ports.address())
    }

    /// Selects it again, where the guest continues.
    pub(crate) fn select(&self, address: u32) {
        let written =
            self.ports(|ports| ports.write(ConfigPorts::FIRST_PORT, &address.to_le_bytes()));
        debug_assert!(written.is_none(), "the address port has no data");
    }

    /// What an access of memory means in configuration space; outer `None` if it is no memory of ECAM's, inner if nobody is there.
    fn in_ecam(&self, address: u64) -> Option<Option<(&dyn PciDevice, u16)>> {
        let (start, window) = self.ecam?;
        let access = window.decode(address.checked_sub(start)?)?;
        Some(self.device(access).map(|device| (device, access.offset)))
    }

    fn device(&self, access: ConfigAccess) -> Option<&dyn PciDevice> {
        let found = self.devices.iter().find(|(function, _)| *function == access.function);
        found.map(|(_, device)| &**device)
    }

    fn ports<T>(&self, work: impl FnOnce(&mut ConfigPorts) -> T) -> T {
        work(&mut self.ports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Bus for PciBus {
    fn io_read(&self, port: u16, data: &mut [u8]) {
        if let Some(access) = self.ports(|ports| ports.read(port, data))
            && let Some(device) = self.device(access)
        {
            device.config_read(access.offset, data);
        }
    }

    fn io_write(&self, port: u16, data: &[u8]) {
        if let Some(access) = self.ports(|ports| ports.write(port, data))
            && let Some(device) = self.device(access)
        {
            device.config_write(access.offset, data);
        }
    }

    fn mmio_read(&self, address: u64, data: &mut [u8]) {
        match self.in_ecam(address) {
            Some(Some((device, offset))) => device.config_read(offset, data),
            Some(None) => {}
            None => {
                self.devices.iter().any(|(_, device)| device.mmio_read(address, data));
            }
        }
    }

    fn mmio_write(&self, address: u64, data: &[u8]) {
        match self.in_ecam(address) {
            Some(Some((device, offset))) => device.config_write(offset, data),
            Some(None) => {}
            None => {
                self.devices.iter().any(|(_, device)| device.mmio_write(address, data));
            }
        }
    }
}
