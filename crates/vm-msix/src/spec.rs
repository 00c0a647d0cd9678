//! The numbers of the MSI-X chapter of the PCIe Base specification (7.7.2), without behaviour.

/// The most vectors a function can have: Table Size is 11 bits wide and encoded as N-1.
pub const MAX_VECTORS: u16 = 2048;

/// The Capability ID of MSI-X (7.7.2.1).
pub const CAPABILITY_ID: u8 = 0x11;
/// Bytes of the whole MSI-X Capability structure: three DWORDs.
pub const CAPABILITY_SIZE: u64 = 12;
/// The byte of the capability that holds the two writable bits of Message Control.
pub const CONTROL_HIGH_BYTE: u64 = 3;
/// MSI-X Enable, as a bit of [`CONTROL_HIGH_BYTE`].
pub const CONTROL_HIGH_ENABLE: u8 = 1 << 7;
/// Function Mask, as a bit of [`CONTROL_HIGH_BYTE`].
pub const CONTROL_HIGH_FUNCTION_MASK: u8 = 1 << 6;

/// Bytes of a table entry: Message Address, Message Upper Address, Message Data, Vector Control.
pub const ENTRY_SIZE: u64 = 16;
/// The Mask Bit of Vector Control (7.7.2.9); every other bit is reserved and reads as zero here.
pub const VECTOR_CONTROL_MASK: u32 = 1;
/// The bits of Message Address that software may set: the two lowest keep a message
/// DWORD-aligned, and the specification allows them to be read-only zero (7.7.2.6).
pub const ADDRESS_LOW_WRITABLE: u32 = !0b11;

/// Pending Bits in one QWORD of the PBA.
pub const PENDING_PER_QWORD: u16 = 64;
/// Bytes of one QWORD of the PBA.
pub const QWORD_SIZE: u64 = 8;

/// BARs that a type-0 function has; a BIR is below it.
pub const BAR_COUNT: u8 = 6;
/// Offsets in the Table and PBA registers of the capability are multiples of this.
pub const OFFSET_ALIGNMENT: u32 = 8;
/// The specification's advice for isolating table and PBA from other registers (7.7.2).
pub const ISOLATION: u32 = 4096;
