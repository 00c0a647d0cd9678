//! Bring-up by a guest: the same driver, whose every access is an instruction and an exit.

use std::sync::Arc;

use vm_msix::test_utils::{GuestDriver, RegisterAccess};
use vm_pci_config::PciFunction;

use super::host::Host;
use super::measure::{Meter, Outcome};
use super::orders;
use super::pass::{Bench, Measured};
use super::plan::{Case, Mode};
use super::rig::{Counting, KvmHost};
use crate::bus::PciBus;
use crate::device::{DEVICE, TestDevice, VENDOR};
use crate::machine::kvm::{ApicMode, KvmMachine, Vm};
use crate::machine::{Access, EnumerateRequest, Machine, Width, Window};
use crate::pci::{self, ADDRESS_PORT, DATA_PORT};

/// The device's number on the bus.
const SLOT: u8 = 3;
/// A number where nothing is.
const EMPTY_SLOT: u8 = 9;
/// An address where nothing is.
const EMPTY_ADDRESS: u64 = 0xd000_0000;

/// As Linux does. The floor is the same accesses to a place where nothing is: the bare exits.
pub(super) fn linux(bench: &Bench<'_, KvmHost>, case: &Case) -> Outcome<Measured> {
    let counting = if bench.is_counting() { Counting::On } else { Counting::Off };
    let guest = Guest::new(case, counting)?;
    let (ours, nothing) = (guest.at_device(), guest.at_nothing());
    let floor = |meter: &mut Meter<'_>| {
        meter.once(|| guest.machine.execute(0, &nothing))?;
        Ok(())
    };
    bench.on(&guest.host).measure_beside(Box::new(floor), |meter| {
        meter.once(|| {
            guest.machine.execute(0, &ours)?;
            guest.settle(case.mode)
        })?;
        guest.device.msix().reset();
        Ok(())
    })
}

/// A VM that runs, with the device on its bus.
struct Guest {
    // Dropped in this order: vectors leave their descriptors before the device goes.
    _descriptors: Vec<<KvmHost as Host>::Descriptor>,
    machine: KvmMachine,
    device: Arc<TestDevice<<KvmHost as Host>::Backend>>,
    host: KvmHost,
    table: Registers,
    vectors: u16,
}

/// Where the device's registers are, for the guest.
#[derive(Clone, Copy)]
struct Registers {
    slot: u8,
    capability: u8,
    table: u64,
}

impl Guest {
    fn new(case: &Case, counting: Counting) -> Outcome<Self> {
        let &Case { mode, vectors, .. } = case;
        let vm = Vm::new(ApicMode::X2apic, 1)?;
        let host = KvmHost::on(vm.vm_fd(), counting)?;
        let device = Arc::new(TestDevice::new(vectors, host.source())?);
        let of_device = |vector: u16| device.msix().get_irqfd(vector.into());
        let on_descriptors = if mode == Mode::Irqfd { vectors } else { 0 };
        let descriptors = (0..on_descriptors).map(of_device).collect::<Result<_, _>>()?;
        let bus = PciBus::new(vec![(PciFunction::new(0, SLOT, 0)?, device.clone())]);
        let machine = vm.start(Arc::new(bus))?;
        let request = EnumerateRequest { vendor: VENDOR, device: DEVICE, window: Window::PC };
        let found = machine.enumerate(0, &request)?;
        let table = Registers {
            slot: found.slot,
            capability: found.msix.offset,
            table: found.table_address(),
        };
        Ok(Self { _descriptors: descriptors, machine, device, host, table, vectors })
    }

    /// What the driver does.
    fn at_device(&self) -> Vec<Access> {
        self.accesses(self.table)
    }

    /// The same elsewhere.
    fn at_nothing(&self) -> Vec<Access> {
        self.accesses(Registers { slot: EMPTY_SLOT, table: EMPTY_ADDRESS, ..self.table })
    }

    fn accesses(&self, registers: Registers) -> Vec<Access> {
        let mut made = Vec::new();
        let recorder = Recorder { registers, vectors: self.vectors, made: &mut made };
        orders::linux(&mut GuestDriver::new(recorder), self.vectors, GuestDriver::unmask);
        made
    }

    fn settle(&self, mode: Mode) -> Outcome {
        if mode == Mode::Irqfd {
            self.device.msix().flush()?;
        }
        Ok(())
    }
}

/// Writes down what a driver does, for the guest to do it.
struct Recorder<'a> {
    registers: Registers,
    vectors: u16,
    made: &'a mut Vec<Access>,
}

impl Recorder<'_> {
    /// Selects Message Control, and tells the port where it appears.
    fn select_control(&mut self) -> u16 {
        let Registers { slot, capability, .. } = self.registers;
        let value = pci::address(slot, capability);
        self.made.push(Access::IoWrite { port: ADDRESS_PORT, width: Width::Dword, value });
        DATA_PORT + 2
    }
}

impl RegisterAccess for Recorder<'_> {
    fn read_table(&mut self, offset: u64) -> u32 {
        let address = self.registers.table + offset;
        self.made.push(Access::MmioRead { address, width: Width::Dword });
        0
    }

    fn write_table(&mut self, offset: u64, value: u32) {
        let (address, value) = (self.registers.table + offset, value.into());
        self.made.push(Access::MmioWrite { address, width: Width::Dword, value });
    }

    fn read_pba(&mut self, _offset: u64) -> u64 {
        0
    }

    /// What it will be, but for the bits that are written then.
    fn read_control(&mut self) -> u16 {
        let port = self.select_control();
        self.made.push(Access::IoRead { port, width: Width::Word });
        // Enabled, once the first write has enabled it.
        1 << 15 | (self.vectors - 1)
    }

    fn write_control(&mut self, value: u16) {
        let port = self.select_control();
        let value = value.into();
        self.made.push(Access::IoWrite { port, width: Width::Word, value });
    }
}
