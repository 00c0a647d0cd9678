//! Base Address Registers: what a function maps, and where the guest has put it.

use core::fmt;

use crate::PciConfigError;
use crate::registers::{Registers, Rule};
use crate::spec::{BAR_IO, BAR_MEMORY_64, BAR_PREFETCHABLE, REG_BAR0};

/// One of the six Base Address Registers of a type 0 header (PCIe Base 7.5.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BarIndex {
    /// Offset 0x10.
    Bar0,
    /// Offset 0x14.
    Bar1,
    /// Offset 0x18.
    Bar2,
    /// Offset 0x1c.
    Bar3,
    /// Offset 0x20.
    Bar4,
    /// Offset 0x24; it cannot hold a 64-bit BAR.
    Bar5,
}

impl BarIndex {
    /// All six, in the order in which they lie in the header.
    pub const ALL: [Self; 6] =
        [Self::Bar0, Self::Bar1, Self::Bar2, Self::Bar3, Self::Bar4, Self::Bar5];

    /// The register's number, 0 to 5, such as a BIR field holds it.
    pub const fn number(self) -> u8 {
        match self {
            Self::Bar0 => 0,
            Self::Bar1 => 1,
            Self::Bar2 => 2,
            Self::Bar3 => 3,
            Self::Bar4 => 4,
            Self::Bar5 => 5,
        }
    }

    /// The slot behind this one, where the upper half of a 64-bit BAR goes.
    pub(crate) fn next(self) -> Option<Self> {
        Self::ALL.get(self.slot() + 1).copied()
    }

    /// The slot before this one, whose 64-bit BAR would reach into it.
    pub(crate) fn previous(self) -> Option<Self> {
        Self::ALL.get(self.slot().checked_sub(1)?).copied()
    }

    pub(crate) fn slot(self) -> usize {
        usize::from(self.number())
    }

    fn register(self) -> usize {
        REG_BAR0 + self.slot()
    }
}

impl TryFrom<u8> for BarIndex {
    type Error = PciConfigError;

    fn try_from(index: u8) -> Result<Self, PciConfigError> {
        Self::ALL
            .get(usize::from(index))
            .copied()
            .ok_or(PciConfigError::BarIndexOutOfRange { index })
    }
}

impl fmt::Display for BarIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BAR {}", self.number())
    }
}

/// Whether reading the memory has no side effects, so that bridges may merge and read ahead (7.5.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prefetchable {
    /// Device registers.
    No,
    /// Memory, such as a frame buffer.
    Yes,
}

/// What kind of addresses a BAR takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory32(Prefetchable),
    /// Memory anywhere; takes two slots.
    Memory64(Prefetchable),
}

/// The address space in which a BAR is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressSpace {
    /// Memory requests, governed by Memory Space Enable.
    Memory,
    /// I/O requests, governed by I/O Space Enable.
    Io,
}

/// The description of a Base Address Register: its kind, its size and its power-on address.
///
/// ```
/// use vm_pci_config::{Bar, BarIndex, Identity, PciConfigError, PciConfigSpace, Prefetchable};
///
/// let mut space = PciConfigSpace::new(Identity::new(0x1af4, 0x1050))?;
/// space.add_bar(BarIndex::Bar0, Bar::memory64(8 << 20, Prefetchable::Yes))?;
/// space.add_bar(BarIndex::Bar2, Bar::memory32(0x1000, Prefetchable::No).at(0xfebf_0000))?;
///
/// // BAR 1 is the upper half of BAR 0.
/// assert_eq!(
///     space.add_bar(BarIndex::Bar1, Bar::io(32)),
///     Err(PciConfigError::BarSlotTaken { index: BarIndex::Bar1 })
/// );
/// # Ok::<(), PciConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    kind: BarKind,
    size: u64,
    address: u64,
}

impl Bar {
    /// An I/O BAR of 4 to 256 bytes; the specification allows no more (PCI Local Bus 3.0, 6.2.5.1).
    pub const fn io(size: u64) -> Self {
        Self { kind: BarKind::Io, size, address: 0 }
    }

    /// A 32-bit memory BAR of 16 bytes to 2 GiB. PCIe asks for 128 bytes or more, PCI allowed 16.
    pub const fn memory32(size: u64, prefetchable: Prefetchable) -> Self {
        Self { kind: BarKind::Memory32(prefetchable), size, address: 0 }
    }

    /// A 64-bit memory BAR of 16 bytes or more, which takes the slot behind its own too.
    pub const fn memory64(size: u64, prefetchable: Prefetchable) -> Self {
        Self { kind: BarKind::Memory64(prefetchable), size, address: 0 }
    }

    /// Sets the power-on address, for a VMM that places BARs itself because no firmware will.
    pub const fn at(mut self, address: u64) -> Self {
        self.address = address;
        self
    }

    /// The kind of addresses that the BAR takes.
    pub const fn kind(&self) -> BarKind {
        self.kind
    }

    /// The size in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn is_64_bit(&self) -> bool {
        matches!(self.kind, BarKind::Memory64(_))
    }

    pub(crate) fn check(&self) -> Result<(), PciConfigError> {
        let Self { size, address, .. } = *self;
        let (minimum, maximum) = match self.kind {
            BarKind::Io => (4, 256),
            BarKind::Memory32(_) => (16, 1 << 31),
            BarKind::Memory64(_) => (16, 1 << 63),
        };
        if size < minimum {
            return Err(PciConfigError::BarTooSmall { size, minimum });
        }
        if size > maximum {
            return Err(PciConfigError::BarTooLarge { size, maximum });
        }
        if !size.is_power_of_two() {
            return Err(PciConfigError::BarSizeNotPowerOfTwo { size });
        }
        if address & (size - 1) != 0 {
            return Err(PciConfigError::BarMisaligned { address, size });
        }
        if !self.is_64_bit() && u32::try_from(address).is_err() {
            return Err(PciConfigError::BarAddressTooHigh { address });
        }
        Ok(())
    }

    /// Puts the registers of this BAR, already checked, into their slots.
    pub(crate) fn define(&self, index: BarIndex, regs: &mut Registers) {
        let (address_low, address_high) = halves(self.address);
        // A bit is writable exactly if it is not determined by the size: that is what sizing reads back.
        let (writable_low, writable_high) = halves(!(self.size - 1));
        let low = Rule { writable: writable_low, ..Rule::default() };
        regs.define_with(index.register(), address_low | self.flags(), low);
        if self.is_64_bit() {
            let high = Rule { writable: writable_high, ..Rule::default() };
            regs.define_with(index.register() + 1, address_high, high);
        }
    }

    /// Where the registers in their slots put this BAR now, decoded or not.
    pub(crate) fn place(&self, index: BarIndex, regs: &Registers) -> BarAddress {
        let low = u64::from(regs.load(index.register()));
        let high = if self.is_64_bit() { u64::from(regs.load(index.register() + 1)) } else { 0 };
        let space = match self.kind {
            BarKind::Io => AddressSpace::Io,
            BarKind::Memory32(_) | BarKind::Memory64(_) => AddressSpace::Memory,
        };
        // The flags lie below the size.
        let start = ((high << 32) | low) & !(self.size - 1);
        BarAddress { start, size: self.size, space }
    }

    fn flags(&self) -> u32 {
        let prefetchable = |p| if p == Prefetchable::Yes { BAR_PREFETCHABLE } else { 0 };
        match self.kind {
            BarKind::Io => BAR_IO,
            BarKind::Memory32(p) => prefetchable(p),
            BarKind::Memory64(p) => BAR_MEMORY_64 | prefetchable(p),
        }
    }
}

/// The addresses at which a BAR lies: a power of two of bytes, aligned to itself, so that no end overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BarAddress {
    start: u64,
    size: u64,
    space: AddressSpace,
}

impl BarAddress {
    /// The first address.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The number of bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The last address. There may be no address behind it, which is why an end is not offered.
    pub const fn last(&self) -> u64 {
        // Aligned to the size, so or is plus.
        self.start | (self.size - 1)
    }

    /// The space in which these addresses are.
    pub const fn space(&self) -> AddressSpace {
        self.space
    }

    /// The offset of an access of `len` bytes at `address`, if every byte of it lies inside.
    pub fn offset_of(&self, address: u64, len: usize) -> Option<u64> {
        let offset = address.checked_sub(self.start)?;
        let beyond_first = u64::try_from(len).ok()?.checked_sub(1)?;
        let last = offset.checked_add(beyond_first)?;
        (last < self.size).then_some(offset)
    }
}

/// Which BAR an access hits, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BarHit {
    /// The BAR; of a 64-bit one, the slot of its lower half.
    pub index: BarIndex,
    /// The offset of the access's first byte.
    pub offset: u64,
}

/// One BAR that began, ceased or changed to be decoded: unmap `before`, then map `after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BarChange {
    /// The BAR; of a 64-bit one, the slot of its lower half.
    pub index: BarIndex,
    /// Where it was decoded, if it was.
    pub before: Option<BarAddress>,
    /// Where it is decoded now, if it is.
    pub after: Option<BarAddress>,
}

fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}
