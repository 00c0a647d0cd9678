//! Where messages are sent to be seen: a doorbell that counts, and slots in memory that show address and data.

use std::collections::BTreeMap;

use vm_msix::MsiMessage;

/// Guest memory that holds the slots.
pub(super) const MEMORY: u64 = 0x20_0000;
/// Bytes of a slot: a message of 4 bytes, and room for an address that is not DWORD-aligned.
pub(super) const SLOT: u64 = 8;
/// What a slot is filled with while no message is in it. No message has such a byte in its data.
pub(super) const BLANK: u8 = 0xa5;
/// Bells of the doorbell, each with an eventfd that counts.
pub(super) const BELLS: u8 = 32;
/// The peer whose bells they are, in the upper half of the data.
pub(super) const PEER: u16 = 1;

/// Where messages can be seen on this machine, and which vectors are worth it.
///
/// A memory write shows where a message went and what it said, but not how often: twice the same looks like once. So
/// there is also the doorbell register of a second ivshmem device. What is written there rings an eventfd of ours,
/// whose counter knows how often.
#[derive(Clone, Debug)]
pub(super) struct Board {
    /// The address of the doorbell register, where the machine has one.
    pub(super) doorbell: Option<u32>,
    /// The vectors that most operations are about; each has a slot.
    pub(super) hot: Vec<u16>,
}

/// The messages that were seen since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    /// How often each bell rang.
    pub(super) rung: BTreeMap<u8, u64>,
    /// What was written to memory, by address.
    pub(super) written: BTreeMap<u64, u32>,
}

impl Delivered {
    /// How many messages it shows.
    pub(super) fn count(&self) -> u64 {
        self.rung.values().sum::<u64>() + self.written.len() as u64
    }
}

impl Board {
    /// The first and the last vector, and those around the ends of DWORDs and QWORDs of the PBA.
    pub(super) fn new(vectors: u16, doorbell: Option<u32>) -> Self {
        let last = vectors.saturating_sub(1);
        let mut hot: Vec<_> =
            [0, 1, 31, 32, 63, 64, last].into_iter().filter(|vector| *vector < vectors).collect();
        hot.sort_unstable();
        hot.dedup();
        Self { doorbell, hot }
    }

    /// Bytes of guest memory that hold the slots.
    pub(super) fn memory_size(&self) -> u64 {
        SLOT * self.hot.len() as u64
    }

    /// The address of a vector's own slot.
    pub(super) fn slot(&self, vector: u16) -> Option<u32> {
        let index = self.hot.iter().position(|hot| *hot == vector)?;
        u32::try_from(MEMORY + SLOT * index as u64).ok()
    }

    /// The data that rings a bell.
    pub(super) fn ringing(bell: u8) -> u32 {
        u32::from(PEER) << 16 | u32::from(bell)
    }

    /// What would be seen of these messages.
    pub(super) fn seen(&self, messages: &[MsiMessage]) -> Delivered {
        let mut delivered = Delivered::default();
        let memory = MEMORY..MEMORY + self.memory_size();
        for message in messages {
            let bell = (message.data & 0xff) as u8;
            if memory.contains(&message.address) {
                delivered.written.insert(message.address, message.data);
            } else if self.doorbell.map(u64::from) == Some(message.address)
                && message.data >> 16 == u32::from(PEER)
                && bell < BELLS
            {
                *delivered.rung.entry(bell).or_default() += 1;
            }
        }
        delivered
    }
}

/// The messages in the slots, at the addresses that they were really written to.
pub(super) fn written(memory: &[u8]) -> BTreeMap<u64, u32> {
    let messages = memory.chunks(SLOT as usize).enumerate().filter_map(|(index, slot)| {
        let at = slot.iter().position(|byte| *byte != BLANK)?;
        let data = slot.get(at..at + 4)?.try_into().map(u32::from_le_bytes).ok()?;
        Some((MEMORY + SLOT * index as u64 + at as u64, data))
    });
    messages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_shows_address_and_data() {
        let mut memory = [BLANK; 24];
        memory[3..7].copy_from_slice(&0x8765_4321_u32.to_le_bytes());
        memory[16..20].fill(0);
        let expected = [(MEMORY + 3, 0x8765_4321), (MEMORY + 16, 0)];
        assert_eq!(written(&memory), BTreeMap::from(expected));
    }

    #[test]
    fn the_doorbell_counts_and_memory_keeps_the_last() {
        let board = Board::new(65, Some(0xc000_000c));
        assert_eq!(board.hot, [0, 1, 31, 32, 63, 64]);
        let ring = MsiMessage::new(0xc000_000c, Board::ringing(7));
        let slot = |data| MsiMessage::new(MEMORY + SLOT, data);
        let nowhere = MsiMessage::new(0x1_c000_000c, Board::ringing(7));
        let seen = board.seen(&[ring, slot(1), ring, nowhere, slot(2)]);
        assert_eq!(seen.rung, BTreeMap::from([(7, 2)]));
        assert_eq!(seen.written, BTreeMap::from([(MEMORY + SLOT, 2)]));
    }
}
