//! Everything that can go wrong with a machine.

use std::error::Error;

use super::{Access, ProgramTable};
use crate::kvm_state::KvmStateError;

/// An error of a machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    /// KVM refused a call.
    #[error("{call}: {source}")]
    Kvm {
        /// The call.
        call: &'static str,
        /// What KVM said.
        source: kvm_ioctls::Error,
    },
    /// The host could not provide something the machine is made of.
    #[error("{what}: {source}")]
    Host {
        /// What was asked for.
        what: &'static str,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A machine with this many CPUs cannot be built.
    #[error("{cpus} CPUs asked for, 1 to {max} are possible")]
    CpuCount {
        /// How many were asked for.
        cpus: usize,
        /// How many there can be.
        max: usize,
    },
    /// A CPU that the machine does not have.
    #[error("there is no CPU {cpu}, the machine has {cpus}")]
    NoSuchCpu {
        /// The CPU.
        cpu: usize,
        /// How many there are.
        cpus: usize,
    },
    /// A CPU runs no more; what the machine says from now on is no evidence of anything.
    #[error("CPU {cpu} stopped: {reason}")]
    CpuStopped {
        /// The CPU.
        cpu: usize,
        /// What happened to it.
        reason: CpuStop,
    },
    /// KVM did not deliver the interrupt that wakes a CPU.
    #[error("the LAPIC of CPU {cpu} did not accept the wake-up")]
    WakeRefused {
        /// The CPU.
        cpu: usize,
    },
    /// What KVM knows of a VM cannot be had, or not be put into this one.
    #[error(transparent)]
    State(#[from] KvmStateError),
    /// A saved VM has memory where this one has none.
    #[error("the saved VM has a page of {bytes} bytes at {address:#x}")]
    BadPage {
        /// Where it was.
        address: u64,
        /// Its size.
        bytes: usize,
    },
    /// The handler of an entry did not run as often as expected.
    #[error("the handler of entry {entry} ran {seen} times, {wanted} were awaited")]
    RunsTimeout {
        /// The table entry.
        entry: u16,
        /// How many runs were awaited.
        wanted: u32,
        /// How many there were when the time was up.
        seen: u32,
    },
    /// An access that no x86 instruction makes.
    #[error("no instruction makes this access: {access:?}")]
    NoSuchAccess {
        /// The access.
        access: Access,
    },
    /// A write to a port by which the guest's kernel reports.
    #[error("port {port:#x} is the guest kernel's own")]
    ReportPort {
        /// The port.
        port: u16,
    },
    /// Entries or IDT vectors that do not exist.
    #[error("entries or IDT vectors out of range: {request:?}")]
    TableRequest {
        /// What was asked for.
        request: ProgramTable,
    },
    /// The scan of bus 0 found no such device.
    #[error("no device {vendor:04x}:{device:04x} on bus 0")]
    DeviceNotFound {
        /// The Vendor ID.
        vendor: u16,
        /// The Device ID.
        device: u16,
    },
    /// The device's BARs need more room than there is.
    #[error("the BARs do not fit into {base:#x}..{end:#x}")]
    WindowFull {
        /// Where the window starts.
        base: u32,
        /// The first address after it.
        end: u32,
    },
    /// The device has no MSI-X Capability.
    #[error("the device has no MSI-X Capability")]
    NoMsixCapability,
    /// The capability list goes in a circle.
    #[error("the capability list does not end")]
    CapabilityLoop,
    /// A BIR that names no memory BAR of the device.
    #[error("BIR {bir} names no memory BAR")]
    BadBir {
        /// The BAR Indicator Register's value.
        bir: u8,
    },
    /// The guest's kernel answered with a status that it does not have.
    #[error("the guest answered with status {status}")]
    GuestStatus {
        /// The status.
        status: u32,
    },
}

/// Why a CPU runs no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CpuStop {
    /// The guest took an exception, or an interrupt with the vector of one.
    #[error("vector {vector:#x} at {rip:#x}, error code {error_code:?}")]
    Exception {
        /// The IDT vector.
        vector: u8,
        /// The error code, for the exceptions that have one.
        error_code: Option<u64>,
        /// The instruction.
        rip: u64,
    },
    /// KVM came back with an exit after which the guest cannot go on.
    #[error("KVM exit {exit}")]
    Exit {
        /// The exit.
        exit: String,
    },
    /// KVM_RUN itself failed.
    #[error("KVM_RUN: {error}")]
    Run {
        /// What KVM said.
        error: kvm_ioctls::Error,
    },
    /// The guest did not finish a command in any reasonable time.
    #[error("no answer")]
    NoAnswer,
    /// The machine was dropped.
    #[error("the machine was dropped")]
    Dropped,
    /// The thread of the CPU panicked: an error in the VMM's bus.
    #[error("its thread panicked")]
    Panicked,
}
