//! Where everything is in the guest's memory.
//!
//! The guest's kernel is assembled with these constants, and the host reads and writes by them:
//! one definition, no linker script.

use crate::machine::MAX_ENTRIES;

/// How much memory the guest has, from address 0.
pub(super) const MEMORY_BYTES: u64 = 16 << 20;

/// The global descriptor table.
pub(super) const GDT: u64 = 0x1000;
/// The task state segment: long mode wants one, although nothing here switches stacks.
pub(super) const TSS: u64 = 0x1800;
/// The interrupt descriptor table, 256 gates.
pub(super) const IDT: u64 = 0x2000;
/// The root of the page tables.
pub(super) const PML4: u64 = 0x3000;
/// The one table of 1 GiB steps.
pub(super) const PDPT: u64 = 0x4000;
/// Four tables of 2 MiB pages, one after the other: 4 GiB.
pub(super) const PAGE_DIRECTORIES: u64 = 0x5000;
/// The kernel.
pub(super) const KERNEL: u64 = 0x1_0000;
/// The most bytes it can have.
pub(super) const KERNEL_BYTES: u64 = 0x1_0000;

/// The area that all CPUs share.
pub(super) const SHARED: u64 = 0x10_0000;
/// In it, a DWORD: 0 for xAPIC, 1 for x2APIC.
pub(super) const SHARED_X2APIC: u64 = 0x0;
/// In it, a DWORD: the first entry of the wave.
pub(super) const SHARED_WAVE: u64 = 0x4;
/// In it, a QWORD for each entry: the sequence number the device wrote.
pub(super) const SHARED_SEQUENCES: u64 = 0x1000;

/// The areas of the CPUs, one after the other.
pub(super) const CPU_AREAS: u64 = 0x20_0000;
/// The bytes of each; its stack grows down from the end.
pub(super) const CPU_AREA_BYTES: u64 = 0x10_0000;
/// In it, a DWORD: the number of the newest command. The host writes it last.
pub(super) const CPU_REQUESTED: u64 = 0x0;
/// In it, a DWORD: the number of the command that a wake-up interrupt announced.
pub(super) const CPU_ACCEPTED: u64 = 0x4;
/// In it, a DWORD: the number of the last command that is done.
pub(super) const CPU_DONE: u64 = 0x8;
/// In it, a DWORD: 1 from when the CPU takes interrupts.
pub(super) const CPU_READY: u64 = 0xc;
/// In it, a DWORD: what to do.
pub(super) const CPU_COMMAND: u64 = 0x10;
/// In it, a DWORD: how it went.
pub(super) const CPU_STATUS: u64 = 0x14;
/// In it, QWORDs: the command's arguments.
pub(super) const CPU_ARGUMENTS: u64 = 0x40;
/// In it: what an enumeration found.
pub(super) const CPU_REPLY: u64 = 0x100;
/// In the reply, a DWORD: the device number.
pub(super) const REPLY_SLOT: u64 = 0x0;
/// In the reply, a DWORD: where the capability is.
pub(super) const REPLY_CAPABILITY: u64 = 0x4;
/// In the reply, three DWORDs: the capability.
pub(super) const REPLY_REGISTERS: u64 = 0x8;
/// In the reply, six times three QWORDs: register, size and base of each BAR.
pub(super) const REPLY_BARS: u64 = 0x18;
/// The bytes of one BAR in the reply.
pub(super) const REPLY_BAR_BYTES: u64 = 24;
/// The bytes of the reply.
pub(super) const REPLY_BYTES: u64 = REPLY_BARS + 6 * REPLY_BAR_BYTES;
/// In the CPU's area, a DWORD for each entry: how often its handler ran.
pub(super) const CPU_RUNS: u64 = 0x1000;
/// In it, a QWORD for each entry: the sequence number its handler read last.
pub(super) const CPU_LAST_SEEN: u64 = 0x4000;
/// In it: the accesses of a batch, and then their results.
pub(super) const CPU_ACCESSES: u64 = 0x1_0000;
/// The bytes of one access: operation, address and value, a QWORD each.
pub(super) const ACCESS_BYTES: u64 = 24;
/// The most accesses of one command.
pub(super) const MAX_BATCH: usize = 4096;

/// The most CPUs.
pub(super) const MAX_CPUS: usize = 8;

/// Where the LAPIC is in xAPIC mode.
pub(super) const XAPIC: u64 = 0xfee0_0000;

/// The area of one CPU.
pub(super) const fn cpu_area(cpu: usize) -> u64 {
    CPU_AREAS + cpu as u64 * CPU_AREA_BYTES
}

const _: () = {
    let entries = MAX_ENTRIES as u64;
    assert!(KERNEL + KERNEL_BYTES <= SHARED);
    assert!(SHARED + SHARED_SEQUENCES + entries * 8 <= CPU_AREAS);
    assert!(CPU_REPLY + REPLY_BYTES <= CPU_RUNS);
    assert!(CPU_RUNS + entries * 4 <= CPU_LAST_SEEN);
    assert!(CPU_LAST_SEEN + entries * 8 <= CPU_ACCESSES);
    // The rest is the stack's.
    assert!(CPU_ACCESSES + MAX_BATCH as u64 * ACCESS_BYTES + 0x1_0000 <= CPU_AREA_BYTES);
    assert!(cpu_area(MAX_CPUS) <= MEMORY_BYTES);
};
