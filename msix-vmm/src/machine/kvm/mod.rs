//! The machine whose CPU is a guest's: on `/dev/kvm`, in 64-bit mode, with a kernel of its own.
//!
//! [`Vm::new`] builds the VM, so that a device's interrupt backend can be built on its
//! descriptor; [`Vm::start`] runs it. The host tells the guest *what* to do through a mailbox in
//! its memory; all accesses, and the handling of all interrupts, are the guest's.

mod areas;
mod boot;
mod guest;
mod layout;
mod mailbox;
mod state;
mod vcpu;
mod vm;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_ioctls::VmFd;

use super::enumeration::RawEnumeration;
use super::reports::{Reports, UnexpectedInterrupt};
use super::{Access, EnumerateRequest, Enumeration, Machine, MachineError, ProgramTable};
use areas::Areas;
use mailbox::Command;
use vcpu::VcpuThread;

pub(crate) use state::VmState;
pub(super) use vcpu::is_report_port;
pub(crate) use vm::{ApicMode, Vm};

/// A VM that runs, its CPUs halted until there is something to do.
///
/// Dropping it stops the vCPUs and waits for their threads.
#[derive(Debug)]
pub(crate) struct KvmMachine {
    threads: Vec<VcpuThread>,
    /// For each CPU the number of its newest command; whoever holds the lock has the mailbox.
    mailboxes: Vec<Mutex<u32>>,
    fd: Arc<VmFd>,
    areas: Areas,
    reports: Arc<Reports>,
    apic_mode: ApicMode,
}

impl KvmMachine {
    /// Stops all CPUs, each between two instructions: from here on memory changes by devices only, and what they
    /// send waits in the local APICs.
    ///
    /// What a CPU was told to do, and has not done, is in the guest's memory and goes on when the VM does.
    pub(crate) fn freeze(&self) {
        self.threads.iter().for_each(VcpuThread::freeze);
    }

    /// The VM, frozen.
    pub(crate) fn into_vm(self) -> Result<Vm, MachineError> {
        let Self { threads, fd, areas, apic_mode, mailboxes: _, reports: _ } = self;
        let vcpus = threads.into_iter().map(VcpuThread::into_vcpu).collect::<Result<_, _>>()?;
        Ok(Vm { vcpus, fd, areas, apic_mode })
    }

    /// What an enumeration on `cpu` found the last time, as the guest's memory has it.
    pub(crate) fn enumerated(&self, cpu: usize) -> Result<Enumeration, MachineError> {
        self.areas.enumeration(cpu).parse()
    }

    /// Has `cpu` make accesses, one batch, and does not wait: the next command does.
    pub(crate) fn begin(&self, cpu: usize, accesses: &[Access]) -> Result<(), MachineError> {
        accesses.iter().try_for_each(|access| access.validate().map(drop))?;
        assert!(accesses.len() <= layout::MAX_BATCH, "{} accesses are no batch", accesses.len());
        self.begin_command(cpu, &Command::Execute(accesses, &mut Vec::new()))
    }

    /// What accesses read that were [begun](Self::begin), here or where the VM was before.
    #[cfg(test)]
    pub(super) fn end(&self, cpu: usize, accesses: &[Access]) -> Result<Vec<u64>, MachineError> {
        let mut results = Vec::new();
        self.end_command(cpu, Command::Execute(accesses, &mut results))?;
        Ok(results)
    }
}

impl Machine for KvmMachine {
    fn describe(&self) -> String {
        let (cpus, mode) = (self.cpus(), self.apic_mode);
        format!("KVM guest in 64-bit mode, {cpus} vCPU(s), {mode}")
    }

    fn cpus(&self) -> usize {
        self.threads.len()
    }

    fn execute(&self, cpu: usize, accesses: &[Access]) -> Result<Vec<u64>, MachineError> {
        accesses.iter().try_for_each(|access| access.validate().map(drop))?;
        let mut results = Vec::with_capacity(accesses.len());
        for batch in accesses.chunks(layout::MAX_BATCH) {
            self.command(cpu, Command::Execute(batch, &mut results))?;
        }
        Ok(results)
    }

    fn enumerate(
        &self,
        cpu: usize,
        request: &EnumerateRequest,
    ) -> Result<Enumeration, MachineError> {
        let mut raw = RawEnumeration::default();
        self.command(cpu, Command::Enumerate(request, &mut raw))?;
        raw.parse()
    }

    fn program_table(&self, cpu: usize, request: &ProgramTable) -> Result<(), MachineError> {
        request.validate()?;
        self.command(cpu, Command::Program(request))
    }

    fn settle(&self, cpu: usize) -> Result<(), MachineError> {
        self.command(cpu, Command::Nothing)
    }

    fn set_wave(&self, first_entry: u16) {
        self.areas.set_wave(first_entry);
    }

    fn runs_on(&self, cpu: usize, entry: u16) -> u32 {
        assert!(cpu < self.cpus(), "there is no CPU {cpu}");
        self.areas.runs(cpu, entry)
    }

    fn wait_until(
        &self,
        timeout: Duration,
        condition: &mut dyn FnMut() -> bool,
    ) -> Result<bool, MachineError> {
        self.reports.wait_until(timeout, condition)
    }

    fn set_sequence(&self, entry: u16, sequence: u64) {
        self.areas.set_sequence(entry, sequence);
    }

    fn last_seen(&self, entry: u16) -> u64 {
        (0..self.cpus()).map(|cpu| self.areas.last_seen(cpu, entry)).max().unwrap_or_default()
    }

    fn unexpected_interrupts(&self) -> Vec<UnexpectedInterrupt> {
        self.reports.unexpected_interrupts()
    }

    fn reset(&self) {
        self.areas.reset(self.cpus());
        self.reports.reset();
    }
}
