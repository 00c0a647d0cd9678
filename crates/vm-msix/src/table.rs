//! The MSI-X Table (PCIe Base 7.7.2.6 to 7.7.2.9): what software programmed, as meaning.

use alloc::boxed::Box;
use alloc::vec;

use crate::access::{Place, Value};
use crate::message::{MsiMessage, join};
use crate::spec;
use crate::vector::{VectorCount, VectorIndex};

/// One table entry: the DWORDs of its message as they are written, and the Mask Bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableEntry {
    address_low: u32,
    address_high: u32,
    data: u32,
    pub(crate) masked: bool,
}

/// The registers of an entry, in their order.
#[derive(Clone, Copy)]
enum Register {
    Address,
    UpperAddress,
    Data,
    VectorControl,
}

/// All entries of a function.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Box<[TableEntry]>,
}

/// What a legal write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// This entry is another one now.
    Changed(VectorIndex),
    /// This entry held these values already.
    Same(VectorIndex),
}

impl TableEntry {
    /// An entry after reset: the Mask Bit set (7.7.2.9), the rest zero.
    pub(crate) const RESET: Self = Self { address_low: 0, address_high: 0, data: 0, masked: true };

    /// An entry with this message.
    #[inline]
    pub(crate) fn new(message: MsiMessage, masked: bool) -> Self {
        Self {
            address_low: message.address_low(),
            address_high: message.address_high(),
            data: message.data,
            masked,
        }
    }

    /// The message, as it is now.
    #[inline]
    pub(crate) fn message(&self) -> MsiMessage {
        MsiMessage::new(join(self.address_low, self.address_high), self.data)
    }

    #[inline]
    fn read(&self, register: Register) -> u32 {
        match register {
            Register::Address => self.address_low,
            Register::UpperAddress => self.address_high,
            Register::Data => self.data,
            Register::VectorControl => u32::from(self.masked),
        }
    }

    /// Writes a register; tells whether it holds another value now.
    #[inline]
    fn write(&mut self, register: Register, value: u32) -> bool {
        let before = self.read(register);
        match register {
            Register::Address => self.address_low = value & spec::ADDRESS_LOW_WRITABLE,
            Register::UpperAddress => self.address_high = value,
            Register::Data => self.data = value,
            Register::VectorControl => self.masked = value & spec::VECTOR_CONTROL_MASK != 0,
        }
        self.read(register) != before
    }
}

impl Register {
    /// The register at this DWORD of the table; four make an entry.
    fn at(dword: u64) -> Self {
        match dword % 4 {
            0 => Self::Address,
            1 => Self::UpperAddress,
            2 => Self::Data,
            _ => Self::VectorControl,
        }
    }
}

impl Table {
    pub(crate) fn new(vectors: VectorCount) -> Self {
        Self { entries: vec![TableEntry::RESET; vectors.as_usize()].into_boxed_slice() }
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&TableEntry> {
        self.entries.get(index)
    }

    /// Every entry, in order.
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &TableEntry> {
        self.entries.iter()
    }

    /// Replaces the entries one by one; whichever is shorter ends it.
    pub(crate) fn load(&mut self, entries: impl Iterator<Item = TableEntry>) {
        for (slot, entry) in self.entries.iter_mut().zip(entries) {
            *slot = entry;
        }
    }

    /// The value at an offset, `None` if such a read is illegal or there is no entry.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Option<u64> {
        let dword = |dword: u64| Some(self.get(entry_index(dword)?)?.read(Register::at(dword)));
        match Place::of(offset, len)? {
            Place::Dword(at) => dword(at).map(u64::from),
            Place::Qword(at) => {
                let low = at.checked_mul(2)?;
                Some(join(dword(low)?, dword(low.checked_add(1)?)?))
            }
        }
    }

    /// Writes one or two registers of an entry as one step, `None` if such a write is illegal or
    /// there is no entry.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Option<Written> {
        let dword = match Place::of(offset, data.len())? {
            Place::Dword(at) => at,
            Place::Qword(at) => at.checked_mul(2)?,
        };
        let index = entry_index(dword)?;
        let entry = self.entries.get_mut(index)?;
        let vector = u16::try_from(index).ok().and_then(VectorIndex::new)?;
        let changed = match Value::of(data)? {
            Value::Dword(value) => entry.write(Register::at(dword), value),
            Value::Qword(low, high) => {
                entry.write(Register::at(dword), low) | entry.write(Register::at(dword | 1), high)
            }
        };
        Some(if changed { Written::Changed(vector) } else { Written::Same(vector) })
    }
}

/// The entry that this DWORD of the table belongs to.
fn entry_index(dword: u64) -> Option<usize> {
    usize::try_from(dword / (spec::ENTRY_SIZE / 4)).ok()
}
