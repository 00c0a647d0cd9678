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

#[cfg(test)]
mod tests {
    use super::*;

    /// Its configuration space has its number in all bytes, and it remembers the last write.
    #[derive(Default)]
    struct Fake(u8, Mutex<Option<(u16, Vec<u8>)>>);

    impl PciDevice for Fake {
        fn config_read(&self, offset: u16, data: &mut [u8]) {
            data.fill(self.0);
            data[0] = offset as u8;
        }

        fn config_write(&self, offset: u16, data: &[u8]) {
            *self.1.lock().unwrap() = Some((offset, data.to_vec()));
        }

        fn mmio_read(&self, _: u64, data: &mut [u8]) -> bool {
            data.fill(0x77);
            true
        }

        fn mmio_write(&self, _: u64, _: &[u8]) -> bool {
            true
        }
    }

    const ECAM: u64 = 0xe000_0000;

    fn bus() -> (PciBus, Arc<Fake>) {
        let device = Arc::new(Fake(0x42, Mutex::default()));
        let devices = vec![(PciFunction::new(0, 3, 0).unwrap(), device.clone() as Arc<_>)];
        (PciBus::new(devices).with_ecam(ECAM, EcamWindow::new(1).unwrap()), device)
    }

    fn read(bus: &PciBus, address: u64) -> [u8; 4] {
        let mut data = [0xff; 4];
        bus.mmio_read(address, &mut data);
        data
    }

    #[test]
    fn ecam_reaches_the_function_that_the_address_names() {
        let (bus, device) = bus();
        assert_eq!(read(&bus, ECAM + (3 << 15) + 0x10), [0x10, 0x42, 0x42, 0x42]);
        bus.mmio_write(ECAM + (3 << 15) + 0xffc, &[1, 2]);
        assert_eq!(*device.1.lock().unwrap(), Some((0xffc, vec![1, 2])));
    }

    #[test]
    fn where_nobody_is_in_ecam_all_ones_are_read_and_no_bar_answers() {
        let (bus, device) = bus();
        assert_eq!(read(&bus, ECAM + (4 << 15)), [0xff; 4]);
        bus.mmio_write(ECAM + (4 << 15), &[1]);
        assert_eq!(*device.1.lock().unwrap(), None);
    }

    #[test]
    fn memory_beside_ecam_is_for_bars() {
        let (bus, _) = bus();
        for address in [ECAM - 4, ECAM + (1 << 20)] {
            assert_eq!(read(&bus, address), [0x77; 4]);
        }
    }
}
