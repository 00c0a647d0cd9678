//! The device's registers, as instructions of the guest reach them.

use vm_msix::test_utils::RegisterAccess;

use super::rig::Rig;
use crate::machine::{Access, Width};
use crate::pci::{self, ADDRESS_PORT, BUS_MASTER, COMMAND, DATA_PORT};

/// What a driver in the guest reaches, on one of its CPUs, by the addresses that enumeration found.
pub(crate) struct GuestRegisters<'a> {
    rig: &'a Rig,
    cpu: usize,
}

impl<'a> GuestRegisters<'a> {
    pub(crate) fn new(rig: &'a Rig, cpu: usize) -> Self {
        Self { rig, cpu }
    }

    /// Reads memory of the device.
    pub(crate) fn read(&self, address: u64, width: Width) -> u64 {
        self.rig.access(self.cpu, &[Access::MmioRead { address, width }])
    }

    /// Writes memory of the device.
    pub(crate) fn write(&self, address: u64, width: Width, value: u64) {
        self.rig.access(self.cpu, &[Access::MmioWrite { address, width, value }]);
    }

    /// Reads the device's configuration space.
    pub(crate) fn read_config(&self, offset: u16, width: Width) -> u64 {
        let (select, port) = self.select(offset);
        self.rig.access(self.cpu, &[select, Access::IoRead { port, width }])
    }

    /// Writes the device's configuration space.
    pub(crate) fn write_config(&self, offset: u16, width: Width, value: u32) {
        let (select, port) = self.select(offset);
        self.rig.access(self.cpu, &[select, Access::IoWrite { port, width, value }]);
    }

    /// Sets or clears Bus Master Enable.
    pub(crate) fn set_bus_master(&self, allowed: bool) {
        let command = self.read_config(COMMAND, Width::Word) as u16;
        let command = if allowed { command | BUS_MASTER } else { command & !BUS_MASTER };
        self.write_config(COMMAND, Width::Word, command.into());
    }

    /// An offset of the MSI-X capability, in configuration space.
    pub(crate) fn capability(&self, offset: u16) -> u16 {
        u16::from(self.rig.found.msix.offset) + offset
    }

    /// What selects a register, and the port where its bytes appear then.
    fn select(&self, offset: u16) -> (Access, u16) {
        let value = pci::address(self.rig.found.slot, offset);
        let select = Access::IoWrite { port: ADDRESS_PORT, width: Width::Dword, value };
        (select, DATA_PORT + offset % 4)
    }
}

impl RegisterAccess for GuestRegisters<'_> {
    fn read_table(&mut self, offset: u64) -> u32 {
        self.read(self.rig.found.table_address() + offset, Width::Dword) as u32
    }

    fn write_table(&mut self, offset: u64, value: u32) {
        self.write(self.rig.found.table_address() + offset, Width::Dword, value.into());
    }

    fn read_pba(&mut self, offset: u64) -> u64 {
        self.read(self.rig.found.pba_address() + offset, Width::Qword)
    }

    fn read_control(&mut self) -> u16 {
        self.read_config(self.capability(2), Width::Word) as u16
    }

    fn write_control(&mut self, value: u16) {
        self.write_config(self.capability(2), Width::Word, value.into());
    }
}
