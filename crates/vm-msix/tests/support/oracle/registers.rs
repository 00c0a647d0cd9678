//! The registers as a chip would have them: bytes, of which some can be written.

use super::super::ops::Message;

/// The bits of a table entry that can be written: Message Address is a multiple of 4, and Vector Control has
/// one bit.
const WRITABLE: [u8; 16] =
    [0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0, 0, 0];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegisterFile {
    /// Byte 3 of the capability.
    control: u8,
    table: Vec<u8>,
    pub(crate) bus_master: bool,
    pub(crate) paused: bool,
}

/// Bytes `offset..offset + len` of a region of `size` bytes, if an access may have them.
pub(crate) fn span(offset: u64, len: usize, size: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(len)?;
    ((len == 4 || len == 8) && start % len == 0 && end <= size).then_some(start..end)
}

impl RegisterFile {
    pub(crate) fn new(vectors: u16) -> Self {
        let table = vec![0; 16 * usize::from(vectors)];
        let mut file = Self { control: 0, table, bus_master: true, paused: false };
        file.reset();
        file
    }

    pub(crate) fn reset(&mut self) {
        self.control = 0;
        for entry in self.table.chunks_mut(16) {
            entry.copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        }
    }

    pub(crate) fn vectors(&self) -> usize {
        self.table.len() / 16
    }

    /// Bits 31 and 30 of the capability's first DWORD.
    pub(crate) fn control(&self) -> u8 {
        self.control
    }

    /// `None`: an illegal write. `Some(None)`: one that Message Control does not see. Else whether it changed.
    pub(crate) fn write_capability(&mut self, offset: u64, data: &[u8]) -> Option<Option<bool>> {
        let last = offset.checked_add(data.len() as u64)?;
        if ![1, 2, 3, 4].contains(&data.len()) || last > 12 {
            return None;
        }
        if !(offset..last).contains(&3) {
            return Some(None);
        }
        let new = data[3 - offset as usize] & 0xc0;
        let old = std::mem::replace(&mut self.control, new);
        Some(Some(old != new))
    }

    /// The vector written to and whether it changed; `None`: an illegal write.
    pub(crate) fn write_table(&mut self, offset: u64, data: &[u8]) -> Option<(usize, bool)> {
        let span = span(offset, data.len(), self.table.len())?;
        let vector = span.start / 16;
        let mut changed = false;
        for (at, new) in span.zip(data) {
            let new = new & WRITABLE[at % 16];
            changed |= self.table[at] != new;
            self.table[at] = new;
        }
        Some((vector, changed))
    }

    pub(crate) fn table(&self) -> &[u8] {
        &self.table
    }

    pub(crate) fn mask_bit(&self, vector: usize) -> bool {
        self.table[16 * vector + 12] == 1
    }

    /// What the guest wants of a vector: its message, or silence.
    pub(crate) fn wish(&self, vector: usize) -> Option<Message> {
        let held = self.paused || !self.bus_master;
        if self.control != 0x80 || held || self.mask_bit(vector) {
            return None;
        }
        let entry = &self.table[16 * vector..];
        let address = u64::from_le_bytes(entry[..8].try_into().unwrap());
        let data = u32::from_le_bytes(entry[8..12].try_into().unwrap());
        Some((address, data))
    }
}
