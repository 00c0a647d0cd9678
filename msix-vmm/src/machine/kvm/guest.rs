//! The guest's kernel: assembled into this program, copied into the guest's memory.
//!
//! It is position-independent, so the bytes between its two symbols are all there is. `/dev/kvm`
//! may be an emulator of instructions: the kernel keeps to plain moves, arithmetic and branches.

use std::arch::global_asm;

use super::layout::*;
use crate::machine::enumeration::MAX_CAPABILITIES;
use crate::machine::table::ENTRY_BYTES;
use crate::machine::vectors::{
    DEVICE_VECTORS, FIRST_DEVICE_VECTOR, FIRST_INTERRUPT_VECTOR, MAX_ENTRIES, WAKE_VECTOR,
};

/// The port by which a handler says that it ran; the value is the table entry.
pub(super) const PORT_HANDLED: u16 = 0xf0;
/// The port by which a CPU says that it is ready, or that a command is done.
pub(super) const PORT_DONE: u16 = 0xf1;
/// The port for an interrupt that no entry accounts for; the value is the vector.
pub(super) const PORT_UNEXPECTED: u16 = 0xf2;
/// The port for an exception, after which the CPU goes no further; the value is the vector.
pub(super) const PORT_FATAL: u16 = 0xf3;

/// Makes a batch of accesses. Argument: how many.
pub(super) const COMMAND_EXECUTE: u32 = 1;
/// Finds and sets up a device. Arguments: device and vendor, window base, window end.
pub(super) const COMMAND_ENUMERATE: u32 = 2;
/// Programs the table. Arguments: table, first, count, address, first vector, mask.
pub(super) const COMMAND_PROGRAM: u32 = 3;
/// Does nothing: being woken is the point.
pub(super) const COMMAND_NOTHING: u32 = 4;

/// The command was carried out.
pub(super) const STATUS_OK: u32 = 0;
/// The scan found no such device.
pub(super) const STATUS_NOT_FOUND: u32 = 1;
/// The BARs do not fit.
pub(super) const STATUS_WINDOW_FULL: u32 = 2;
/// There is no MSI-X Capability.
pub(super) const STATUS_NO_MSIX: u32 = 3;
/// The capability list has no end.
pub(super) const STATUS_LOOP: u32 = 4;
/// There is no such command, or no such operation in a batch.
pub(super) const STATUS_BAD_COMMAND: u32 = 5;

/// The bytes between the entry points of two vectors.
const STUB_BYTES: u64 = 16;

/// An argument's place in a CPU's area.
const fn argument(index: u64) -> u64 {
    CPU_ARGUMENTS + 8 * index
}

global_asm!(
    ".pushsection .rodata.msix_vmm_guest, \"a\"",
    ".balign 16",
    // Hidden: for the rest of this program, which is assembled apart, and nobody else.
    ".hidden msix_vmm_guest_start, msix_vmm_guest_stubs, msix_vmm_guest_end",
    ".globl msix_vmm_guest_start, msix_vmm_guest_stubs, msix_vmm_guest_end",
    "msix_vmm_guest_start:",
    include_str!("guest/main.s"),
    include_str!("guest/execute.s"),
    include_str!("guest/enumerate.s"),
    include_str!("guest/program.s"),
    include_str!("guest/interrupts.s"),
    "msix_vmm_guest_end:",
    ".popsection",
    STUB_BYTES = const STUB_BYTES,
    X2APIC = const SHARED_X2APIC,
    WAVE = const SHARED_WAVE,
    SEQUENCES = const SHARED_SEQUENCES,
    REQUESTED = const CPU_REQUESTED,
    ACCEPTED = const CPU_ACCEPTED,
    DONE = const CPU_DONE,
    READY = const CPU_READY,
    COMMAND = const CPU_COMMAND,
    STATUS = const CPU_STATUS,
    RUNS = const CPU_RUNS,
    LAST_SEEN = const CPU_LAST_SEEN,
    ACCESSES = const CPU_ACCESSES,
    ACCESS_BYTES = const ACCESS_BYTES,
    ARGUMENT_0 = const argument(0),
    ARGUMENT_1 = const argument(1),
    ARGUMENT_2 = const argument(2),
    ARGUMENT_3 = const argument(3),
    ARGUMENT_4 = const argument(4),
    ARGUMENT_5 = const argument(5),
    SLOT = const CPU_REPLY + REPLY_SLOT,
    CAPABILITY = const CPU_REPLY + REPLY_CAPABILITY,
    REGISTERS = const CPU_REPLY + REPLY_REGISTERS,
    BARS = const CPU_REPLY + REPLY_BARS,
    BAR_BYTES = const REPLY_BAR_BYTES,
    XAPIC = const XAPIC,
    ENTRY_BYTES = const ENTRY_BYTES,
    MAX_CAPABILITIES = const MAX_CAPABILITIES,
    MAX_ENTRIES = const MAX_ENTRIES,
    FIRST_INTERRUPT_VECTOR = const FIRST_INTERRUPT_VECTOR,
    FIRST_DEVICE_VECTOR = const FIRST_DEVICE_VECTOR,
    DEVICE_VECTORS = const DEVICE_VECTORS,
    WAKE_VECTOR = const WAKE_VECTOR,
    PORT_HANDLED = const PORT_HANDLED,
    PORT_DONE = const PORT_DONE,
    PORT_UNEXPECTED = const PORT_UNEXPECTED,
    PORT_FATAL = const PORT_FATAL,
    COMMAND_EXECUTE = const COMMAND_EXECUTE,
    COMMAND_ENUMERATE = const COMMAND_ENUMERATE,
    COMMAND_PROGRAM = const COMMAND_PROGRAM,
    COMMAND_NOTHING = const COMMAND_NOTHING,
    STATUS_OK = const STATUS_OK,
    STATUS_NOT_FOUND = const STATUS_NOT_FOUND,
    STATUS_WINDOW_FULL = const STATUS_WINDOW_FULL,
    STATUS_NO_MSIX = const STATUS_NO_MSIX,
    STATUS_LOOP = const STATUS_LOOP,
    STATUS_BAD_COMMAND = const STATUS_BAD_COMMAND,
);

unsafe extern "C" {
    static msix_vmm_guest_start: u8;
    static msix_vmm_guest_stubs: u8;
    static msix_vmm_guest_end: u8;
}

/// The kernel's bytes, to be copied to [`KERNEL`]; execution starts at the first.
pub(super) fn image() -> &'static [u8] {
    let start = &raw const msix_vmm_guest_start;
    let bytes = distance(start, &raw const msix_vmm_guest_end);
    // SAFETY: both symbols lie in the one read-only section that the assembly above fills, the
    // end after the start, and nothing writes to it while the program runs.
    unsafe { std::slice::from_raw_parts(start, bytes) }
}

/// The guest address of the code that an IDT vector enters.
pub(super) fn entry_point(vector: u8) -> u64 {
    let stubs = distance(&raw const msix_vmm_guest_start, &raw const msix_vmm_guest_stubs);
    KERNEL + stubs as u64 + u64::from(vector) * STUB_BYTES
}

fn distance(from: *const u8, to: *const u8) -> usize {
    to.addr() - from.addr()
}
