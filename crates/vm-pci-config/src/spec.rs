//! Register numbers and bits of the type 0 header (PCIe Base 7.5.1), and no behaviour.

/// DWORD registers of the PCI-compatible configuration space: 256 bytes.
pub(crate) const REGISTERS: usize = 64;

/// First register behind the header, offset 0x40; capabilities live from here to the end.
pub(crate) const FIRST_CAPABILITY: usize = 16;

/// Offset 0x00: Vendor ID and Device ID (7.5.1.1.1, 7.5.1.1.2).
pub(crate) const REG_ID: usize = 0;
/// Offset 0x04: Command and Status (7.5.1.1.3, 7.5.1.1.4).
pub(crate) const REG_COMMAND_STATUS: usize = 1;
/// Offset 0x08: Revision ID and Class Code (7.5.1.1.5, 7.5.1.1.6).
pub(crate) const REG_CLASS: usize = 2;
/// Offset 0x0c: Cache Line Size, Latency Timer, Header Type, BIST (7.5.1.1.7 to 7.5.1.1.10).
pub(crate) const REG_HEADER_TYPE: usize = 3;
/// Offset 0x10: the first of six Base Address Registers (7.5.1.2.1).
pub(crate) const REG_BAR0: usize = 4;
/// Offset 0x2c: Subsystem Vendor ID and Subsystem ID (7.5.1.2.3).
pub(crate) const REG_SUBSYSTEM: usize = 11;
/// Offset 0x34: Capabilities Pointer (7.5.1.1.11).
pub(crate) const REG_CAPABILITIES: usize = 13;
/// Offset 0x3c: Interrupt Line and Interrupt Pin (7.5.1.1.12, 7.5.1.1.13).
pub(crate) const REG_INTERRUPT: usize = 15;

pub(crate) const COMMAND_IO: u16 = 1 << 0;
pub(crate) const COMMAND_MEMORY: u16 = 1 << 1;
pub(crate) const COMMAND_BUS_MASTER: u16 = 1 << 2;
pub(crate) const COMMAND_PARITY: u16 = 1 << 6;
pub(crate) const COMMAND_SERR: u16 = 1 << 8;
pub(crate) const COMMAND_INTX_DISABLE: u16 = 1 << 10;

/// Every bit of Command that a guest may change; PCIe hardwires the others to zero (7.5.1.1.3).
pub(crate) const COMMAND_WRITABLE: u16 = COMMAND_IO
    | COMMAND_MEMORY
    | COMMAND_BUS_MASTER
    | COMMAND_PARITY
    | COMMAND_SERR
    | COMMAND_INTX_DISABLE;

// Status bits as they lie in the register that Command and Status share.
pub(crate) const STATUS_INTERRUPT: u32 = 1 << (16 + 3);
pub(crate) const STATUS_CAPABILITIES: u32 = 1 << (16 + 4);
pub(crate) const STATUS_MASTER_PARITY: u32 = 1 << (16 + 8);
pub(crate) const STATUS_SIGNALED_TARGET_ABORT: u32 = 1 << (16 + 11);
pub(crate) const STATUS_RECEIVED_TARGET_ABORT: u32 = 1 << (16 + 12);
pub(crate) const STATUS_RECEIVED_MASTER_ABORT: u32 = 1 << (16 + 13);
pub(crate) const STATUS_SIGNALED_SYSTEM_ERROR: u32 = 1 << (16 + 14);
pub(crate) const STATUS_DETECTED_PARITY: u32 = 1 << (16 + 15);

/// The error bits of Status: write one to clear (7.5.1.1.4).
pub(crate) const STATUS_ERRORS: u32 = STATUS_MASTER_PARITY
    | STATUS_SIGNALED_TARGET_ABORT
    | STATUS_RECEIVED_TARGET_ABORT
    | STATUS_RECEIVED_MASTER_ABORT
    | STATUS_SIGNALED_SYSTEM_ERROR
    | STATUS_DETECTED_PARITY;

/// Cache Line Size: read-write without effect in PCIe (7.5.1.1.7).
pub(crate) const CACHE_LINE_WRITABLE: u32 = 0x0000_00ff;
/// Interrupt Line: belongs to the guest's software (7.5.1.1.12).
pub(crate) const INTERRUPT_LINE_WRITABLE: u32 = 0x0000_00ff;
/// Header Type bit 7: the device has more than one function (7.5.1.1.9).
pub(crate) const HEADER_MULTI_FUNCTION: u32 = 1 << (16 + 7);

/// Capability ID and Next Capability Pointer in a capability's first register (PCI Local Bus 3.0, 6.7).
pub(crate) const CAPABILITY_HEADER: u32 = 0x0000_ffff;
/// Next Capability Pointer in a capability's first register.
pub(crate) const CAPABILITY_NEXT: u32 = 0x0000_ff00;

/// A Base Address Register's bit 0: I/O space.
pub(crate) const BAR_IO: u32 = 1 << 0;
/// A memory Base Address Register's type field, for 64 bits.
pub(crate) const BAR_MEMORY_64: u32 = 0b10 << 1;
/// A memory Base Address Register's prefetchable bit.
pub(crate) const BAR_PREFETCHABLE: u32 = 1 << 3;
