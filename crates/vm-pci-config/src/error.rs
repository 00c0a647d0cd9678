//! The one error type: every way in which a VMM can describe a function that cannot exist.

use crate::bar::BarIndex;

/// Why a configuration space, an address or a capability was refused.
///
/// Only the VMM's own calls return it. What a guest reads or writes never fails: such an access has a
/// defined result instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PciConfigError {
    /// Vendor ID 0xffff tells the guest that there is no function (PCIe Base 7.5.1.1.1).
    #[error(
        "vendor ID 0xffff tells the guest that no function is there; use an assigned vendor ID"
    )]
    VendorIdReserved,

    /// A type 0 header has Base Address Registers 0 to 5.
    #[error("there is no BAR {index}; use an index of 0 to 5")]
    BarIndexOutOfRange {
        /// The index that was asked for.
        index: u8,
    },
    /// A Base Address Register can only describe a power of two.
    #[error("BAR size {size:#x} is not a power of two; round it up to {:#x}", round_up(*size))]
    BarSizeNotPowerOfTwo {
        /// The size that was asked for.
        size: u64,
    },
    /// The low bits of a Base Address Register are flags, so it cannot describe less.
    #[error("BAR size {size:#x} is too small; this kind of BAR needs at least {minimum:#x} bytes")]
    BarTooSmall {
        /// The size that was asked for.
        size: u64,
        /// The smallest size of this kind of BAR.
        minimum: u64,
    },
    /// The kind of Base Address Register cannot describe as much.
    #[error("BAR size {size:#x} is too large; this kind of BAR has at most {maximum:#x} bytes")]
    BarTooLarge {
        /// The size that was asked for.
        size: u64,
        /// The largest size of this kind of BAR.
        maximum: u64,
    },
    /// A Base Address Register holds only multiples of its size.
    #[error("BAR address {address:#x} is no multiple of the size {size:#x}; align it")]
    BarMisaligned {
        /// The power-on address that was asked for.
        address: u64,
        /// The size of the BAR.
        size: u64,
    },
    /// A 32-bit Base Address Register cannot hold the address.
    #[error("BAR address {address:#x} needs more than 32 bits; use a 64-bit memory BAR or move it")]
    BarAddressTooHigh {
        /// The power-on address that was asked for.
        address: u64,
    },
    /// The slot already holds a BAR, or the upper half of the 64-bit BAR before it.
    #[error("{index} is taken; a 64-bit BAR also takes the slot behind its own")]
    BarSlotTaken {
        /// The slot that was wanted twice.
        index: BarIndex,
    },
    /// A 64-bit Base Address Register needs the slot behind its own, and 5 is the last.
    #[error("a 64-bit BAR takes two slots and cannot start in the last one; use BAR 0 to 4")]
    Bar64InLastSlot,

    /// A capability begins with two bytes, its ID and the pointer to the next one.
    #[error("a capability of {length} bytes has no header; give it its 2 header bytes")]
    CapabilityTooShort {
        /// The length of the capability's bytes.
        length: usize,
    },
    /// The 192 bytes behind the header do not hold this capability too.
    #[error(
        "a capability of {length} bytes does not fit into the {left} that are left; add fewer or shorter ones"
    )]
    NoRoomForCapability {
        /// The length of the capability's bytes.
        length: usize,
        /// The bytes that are still free.
        left: usize,
    },
    /// There are more masks of writable bits than registers.
    #[error("{given} masks of writable bits for {registers} registers; give one mask per DWORD")]
    TooManyWritableMasks {
        /// The number of masks.
        given: usize,
        /// The capability's length in DWORDs.
        registers: usize,
    },
    /// A guest must not change a capability's ID or the link to the next one.
    #[error(
        "writable bits {mask:#010x} cover the capability's ID or next pointer; clear the low 16"
    )]
    HeaderWritable {
        /// The mask of the first register.
        mask: u32,
    },
    /// The live side of a capability counts other registers than its bytes have.
    #[error(
        "the live capability has {config} registers, but its bytes make {registers}; make num_regs agree"
    )]
    RegisterCountMismatch {
        /// What `num_regs` said.
        config: usize,
        /// The capability's length in DWORDs.
        registers: usize,
    },
    /// The live side of a capability has a read mask for other registers than its bytes have.
    #[error(
        "the read mask has {given} entries for {registers} registers; give one entry per DWORD"
    )]
    ReadMaskMismatch {
        /// The length of what `read_mask` returned.
        given: usize,
        /// The capability's length in DWORDs.
        registers: usize,
    },
    /// The live side of a capability wants to supply its ID or the link to the next one.
    #[error(
        "read mask {mask:#010x} covers the capability's ID or next pointer; clear the low 16 bits"
    )]
    ReadMaskCoversHeader {
        /// The read mask of the first register.
        mask: u32,
    },
    /// A capability reached for a register that is not its own.
    #[error(
        "register {reg_idx} is outside of the capability's {num_regs}; count from its own start"
    )]
    RegisterOutOfRange {
        /// The register that was asked for.
        reg_idx: usize,
        /// The number of registers that the capability has.
        num_regs: usize,
    },

    /// A saved state names the function that it is of.
    #[error("the state is one of function {saved:#010x}, this is {pci_id:#010x}")]
    StateOfAnother {
        /// Device ID and Vendor ID in the state.
        saved: u32,
        /// Device ID and Vendor ID of this function.
        pci_id: u32,
    },
    /// A saved state holds what a guest wrote, and a guest cannot have written this.
    #[error(
        "the state has bits {bits:#010x} in register {register}, which no guest can write here"
    )]
    StateNotWritable {
        /// The DWORD register, counted from 0.
        register: usize,
        /// The bits.
        bits: u32,
    },

    /// A bus has devices 0 to 31.
    #[error("there is no device {device} on a PCI bus; use 0 to 31")]
    DeviceOutOfRange {
        /// The device number that was asked for.
        device: u8,
    },
    /// A device has functions 0 to 7.
    #[error("there is no function {function} in a PCI device; use 0 to 7")]
    FunctionOutOfRange {
        /// The function number that was asked for.
        function: u8,
    },
    /// A segment has 256 buses, and a window without any is useless.
    #[error("an ECAM window cannot have {buses} buses; use 1 to 256")]
    BusCountOutOfRange {
        /// The number of buses that was asked for.
        buses: u16,
    },
}

/// The next valid size, for a message; there is none above 2^63.
fn round_up(size: u64) -> u64 {
    size.checked_next_power_of_two().unwrap_or(1 << 63)
}
