//! The machine without a hypervisor: host code makes the accesses, atomics take the interrupts.

mod apics;
mod scan;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::reports::UnexpectedInterrupt;
use super::table::ENTRY_BYTES;
use super::{
    Access, Bus, EnumerateRequest, Enumeration, Machine, MachineError, MaskBit, ProgramTable, Width,
};

pub(crate) use apics::HostApics;

/// CPUs that are whatever thread calls them, one at a time for each CPU.
pub(crate) struct HostMachine {
    bus: Arc<dyn Bus>,
    apics: Arc<HostApics>,
    /// What makes a CPU do one thing at a time. [`HostApics::deliver`] takes none of these.
    cpus: Vec<Mutex<()>>,
}

impl HostMachine {
    /// A machine on `bus` with the CPUs of `apics`, which are made first: the device's interrupt
    /// backend delivers to them.
    pub(crate) fn new(apics: Arc<HostApics>, bus: Arc<dyn Bus>) -> Self {
        let cpus = (0..apics.cpus()).map(|_| Mutex::new(())).collect();
        Self { bus, apics, cpus }
    }

    /// Runs `program` as the only thing that `cpu` does.
    fn on<T>(&self, cpu: usize, program: impl FnOnce() -> T) -> Result<T, MachineError> {
        let cpus = self.cpus.len();
        let one = self.cpus.get(cpu).ok_or(MachineError::NoSuchCpu { cpu, cpus })?;
        let _busy = one.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(program())
    }

    fn access(&self, access: Access) -> u64 {
        match access {
            Access::IoRead { port, width } => read(width, |data| self.bus.io_read(port, data)),
            Access::MmioRead { address, width } => {
                read(width, |data| self.bus.mmio_read(address, data))
            }
            Access::IoWrite { port, width, value } => {
                self.bus.io_write(port, &value.to_le_bytes()[..width.bytes()]);
                0
            }
            Access::MmioWrite { address, width, value } => {
                self.bus.mmio_write(address, &value.to_le_bytes()[..width.bytes()]);
                0
            }
        }
    }
}

fn read(width: Width, from: impl FnOnce(&mut [u8])) -> u64 {
    let mut value = [0; 8];
    let data = &mut value[..width.bytes()];
    data.fill(0xff);
    from(data);
    u64::from_le_bytes(value)
}

impl Machine for HostMachine {
    fn describe(&self) -> String {
        format!("host code without a hypervisor, {} CPU(s)", self.cpus())
    }

    fn cpus(&self) -> usize {
        self.cpus.len()
    }

    fn execute(&self, cpu: usize, accesses: &[Access]) -> Result<Vec<u64>, MachineError> {
        accesses.iter().try_for_each(|access| access.validate().map(drop))?;
        self.on(cpu, || accesses.iter().map(|&access| self.access(access)).collect())
    }

    fn enumerate(
        &self,
        cpu: usize,
        request: &EnumerateRequest,
    ) -> Result<Enumeration, MachineError> {
        let raw = self.on(cpu, || scan::scan(request, |access| self.access(access) as u32))?;
        raw.map_err(|failure| failure.into_error(request))?.parse()
    }

    fn program_table(&self, cpu: usize, request: &ProgramTable) -> Result<(), MachineError> {
        request.validate()?;
        let first = request.table_address + ENTRY_BYTES * u64::from(request.first_entry);
        let write = |address, value: u32| {
            self.access(Access::MmioWrite { address, width: Width::Dword, value: value.into() });
        };
        self.on(cpu, || {
            for index in 0..u32::from(request.count) {
                let entry = first + ENTRY_BYTES * u64::from(index);
                write(entry, request.message_address());
                write(entry + 4, 0);
                write(entry + 8, u32::from(request.first_vector) + index);
                match request.mask {
                    MaskBit::Keep => {}
                    MaskBit::Clear => write(entry + 12, 0),
                    MaskBit::Set => write(entry + 12, 1),
                }
            }
        })
    }

    fn settle(&self, cpu: usize) -> Result<(), MachineError> {
        self.on(cpu, || self.apics.settle(cpu))
    }

    fn set_wave(&self, first_entry: u16) {
        self.apics.set_wave(first_entry);
    }

    fn runs_on(&self, cpu: usize, entry: u16) -> u32 {
        self.apics.runs(cpu, entry)
    }

    fn wait_until(
        &self,
        timeout: Duration,
        condition: &mut dyn FnMut() -> bool,
    ) -> Result<bool, MachineError> {
        self.apics.reports().wait_until(timeout, condition)
    }

    fn set_sequence(&self, entry: u16, sequence: u64) {
        self.apics.set_sequence(entry, sequence);
    }

    fn last_seen(&self, entry: u16) -> u64 {
        self.apics.last_seen(entry)
    }

    fn unexpected_interrupts(&self) -> Vec<UnexpectedInterrupt> {
        self.apics.reports().unexpected_interrupts()
    }

    fn reset(&self) {
        self.apics.reset();
    }
}
