//! The machine under the device: CPUs that make accesses and take interrupts.
//!
//! A scenario says *what* a guest does; a [`Machine`] does it. There are two:
//!
//! - [`kvm::KvmMachine`]: a vCPU on `/dev/kvm` runs a small 64-bit kernel. Every access is an
//!   instruction of the guest, and every interrupt goes through its LAPIC and its IDT.
//! - [`host::HostMachine`]: host code makes the same accesses, and [`host::HostApics`] stands in
//!   for the LAPICs. It needs nothing of the host and is easy to step through.
//!
//! Both reach the device through one [`Bus`], so a scenario that passes on one and fails on the
//! other has found a difference that matters.

mod access;
mod enumeration;
mod error;
pub(crate) mod host;
pub(crate) mod kvm;
mod reports;
mod table;
#[cfg(test)]
mod tests;
mod vectors;

use std::time::Duration;

pub(crate) use access::{Access, Width};
#[cfg(test)]
pub(crate) use enumeration::{Bar, BarKind, MsixCapability, TableLocation};
pub(crate) use enumeration::{EnumerateRequest, Enumeration, Window};
pub(crate) use error::{CpuStop, MachineError};
pub(crate) use reports::UnexpectedInterrupt;
pub(crate) use table::{MaskBit, ProgramTable};
pub(crate) use vectors::{DEVICE_VECTORS, FIRST_DEVICE_VECTOR, MAX_ENTRIES};

/// What a CPU reaches outside memory: the VMM's ports and MMIO.
///
/// The implementation fills every byte of a read; the buffer arrives as all ones, which is what a
/// bus that nobody answers on returns. It is called on the thread of the CPU that makes the
/// access, and may call [`host::HostApics::deliver`] from there.
pub(crate) trait Bus: Send + Sync {
    /// A port read (`in`), 1, 2 or 4 bytes.
    fn io_read(&self, port: u16, data: &mut [u8]);
    /// A port write (`out`), 1, 2 or 4 bytes.
    fn io_write(&self, port: u16, data: &[u8]);
    /// A read of an address without memory behind it, 1, 2, 4 or 8 bytes.
    fn mmio_read(&self, address: u64, data: &mut [u8]);
    /// A write to an address without memory behind it, 1, 2, 4 or 8 bytes.
    fn mmio_write(&self, address: u64, data: &[u8]);
}

/// CPUs on a [`Bus`], and the interrupt handler that runs on them.
///
/// The handler of every IDT vector from [`FIRST_DEVICE_VECTOR`] on finds its MSI-X table entry
/// through the *wave* ([`set_wave`](Self::set_wave)): a device may have 2048 vectors, an IDT has
/// room for [`DEVICE_VECTORS`] of them at a time. It reads the sequence number of its entry,
/// keeps it as the last one seen, counts the run and acknowledges the interrupt.
///
/// CPUs are named by their number, which is their APIC ID too. All methods take `&self`: device
/// threads set sequence numbers and wait for handlers while a CPU executes. From inside a [`Bus`]
/// call, never call a method that waits for the CPU which makes the access: it cannot go on.
///
/// # Panics
/// Methods that take a table entry and return no `Result` panic if it is not below
/// [`MAX_ENTRIES`], those that take a CPU if there is no such CPU: that is an error of the caller,
/// nothing a guest can cause.
pub(crate) trait Machine: Send + Sync {
    /// One line for people: what executes the accesses, and how.
    fn describe(&self) -> String;

    /// How many CPUs there are.
    fn cpus(&self) -> usize;

    /// Makes `accesses` in order on `cpu` and returns the value that each one read, 0 for writes.
    ///
    /// Interrupts are open meanwhile, so handlers run between the accesses as they do in any
    /// guest. Returns when the CPU is done and about to halt again; what arrived last may still
    /// be on its way to the handler ([`settle`](Self::settle)).
    fn execute(&self, cpu: usize, accesses: &[Access]) -> Result<Vec<u64>, MachineError>;

    /// Lets the guest on `cpu` find a device on PCI bus 0 and set it up, as firmware does.
    ///
    /// It goes through ports 0xCF8/0xCFC only: scans device numbers 0 to 31, sizes the BARs by
    /// all-ones with decoding off, places the memory BARs in the window (naturally aligned, in
    /// order), switches on memory decoding and bus mastering, and walks the capability list to
    /// the MSI-X Capability. One CPU at a time: the two ports are one register pair.
    fn enumerate(
        &self,
        cpu: usize,
        request: &EnumerateRequest,
    ) -> Result<Enumeration, MachineError>;

    /// Lets the guest on `cpu` program consecutive MSI-X table entries by DWORD writes.
    fn program_table(&self, cpu: usize, request: &ProgramTable) -> Result<(), MachineError>;

    /// Returns when `cpu` has handled every interrupt that its LAPIC had accepted before this
    /// call, so that counts can be compared to the exact number.
    fn settle(&self, cpu: usize) -> Result<(), MachineError>;

    /// From now on IDT vector `FIRST_DEVICE_VECTOR + i` belongs to table entry `first_entry + i`.
    /// Call it when settled: an interrupt on its way is attributed by the new wave.
    fn set_wave(&self, first_entry: u16);

    /// How often the handler of `entry` ran on `cpu` since the last [`reset`](Self::reset).
    fn runs_on(&self, cpu: usize, entry: u16) -> u32;

    /// How often the handler of `entry` ran, on all CPUs together.
    fn runs(&self, entry: u16) -> u32 {
        (0..self.cpus()).map(|cpu| self.runs_on(cpu, entry)).sum()
    }

    /// Blocks until `condition` holds, which is looked at after every report of a handler; `Ok(false)` if
    /// `timeout` passed first, an error if a CPU stopped.
    ///
    /// `timeout` is for finding hangs, so be generous. The condition may look at counts and sequence
    /// numbers; it must not wait.
    fn wait_until(
        &self,
        timeout: Duration,
        condition: &mut dyn FnMut() -> bool,
    ) -> Result<bool, MachineError>;

    /// Blocks until the handler of `entry` ran at least `runs` times on all CPUs together. When `timeout`
    /// passes, that is [`MachineError::RunsTimeout`].
    fn wait_for_runs(&self, entry: u16, runs: u32, timeout: Duration) -> Result<(), MachineError> {
        match self.wait_until(timeout, &mut || self.runs(entry) >= runs)? {
            true => Ok(()),
            false => Err(MachineError::RunsTimeout { entry, wanted: runs, seen: self.runs(entry) }),
        }
    }

    /// Writes the sequence number that the handler of `entry` reads: what a device does to
    /// memory before it signals. Numbers must rise, for [`last_seen`](Self::last_seen) is the
    /// highest of all CPUs.
    fn set_sequence(&self, entry: u16, sequence: u64);

    /// The highest sequence number of `entry` that is the last one some CPU's handler has read.
    ///
    /// The LAPIC collapses interrupts, so under a storm this, and not the count of runs, shows
    /// whether one was lost: at rest, last seen = last written.
    fn last_seen(&self, entry: u16) -> u64;

    /// Interrupts that no table entry accounts for, by CPU and vector, in that order.
    fn unexpected_interrupts(&self) -> Vec<UnexpectedInterrupt>;

    /// Zeroes runs, sequence numbers, last-seen numbers and unexpected interrupts of all entries.
    /// Call it when settled, or a handler that is running counts into the new time.
    fn reset(&self);
}
