//! A guest's reads and writes: cut into registers, and each register touched once.

use super::PciConfigSpace;
use crate::outcome::{CapabilityWrite, WriteOutcome};
use crate::spec::FIRST_CAPABILITY;

impl PciConfigSpace {
    /// Answers a guest's read of 1, 2 or 4 bytes at any offset, also across a DWORD.
    ///
    /// `data` is filled in every case: what is not there reads as zero, and so does an access of any other length.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        data.fill(0);
        let Some(cut) = Cut::new(offset, data.len()) else { return };
        let Some((head, tail)) = data.split_at_mut_checked(cut.head_len) else { return };
        self.read_part(cut.reg, cut.lane, head);
        if !tail.is_empty() {
            self.read_part(cut.reg + 1, 0, tail);
        }
    }

    /// Takes a guest's write of 1, 2 or 4 bytes at any offset, also across a DWORD, and says what it changed.
    ///
    /// Writes of any other length, and bytes from 0x100 on, are ignored.
    pub fn write(&mut self, offset: u16, data: &[u8]) -> WriteOutcome {
        let Some(cut) = Cut::new(offset, data.len()) else { return WriteOutcome::default() };
        let Some((head, tail)) = data.split_at_checked(cut.head_len) else {
            return WriteOutcome::default();
        };
        let before = (cut.reg < FIRST_CAPABILITY).then(|| (self.command(), self.decoded()));

        let first = self.write_part(cut.reg, cut.lane, head);
        let second = if tail.is_empty() { None } else { self.write_part(cut.reg + 1, 0, tail) };

        let mut outcome = match before {
            Some((command, bars)) => self.outcome_since(command, bars),
            None => WriteOutcome::default(),
        };
        outcome.capabilities.extend(first.into_iter().chain(second));
        outcome
    }

    fn read_part(&self, reg: usize, lane: usize, data: &mut [u8]) {
        let bytes = self.read_register(reg).to_le_bytes();
        for (to, from) in data.iter_mut().zip(bytes.into_iter().skip(lane)) {
            *to = from;
        }
    }

    fn read_register(&self, reg: usize) -> u32 {
        let stored = self.registers.load(reg);
        let Some((live, own)) = self.capabilities.live_at(reg) else { return stored };
        // A device is asked, and perhaps locked, only for bits that it claimed.
        match live.read_mask.get(own).copied().unwrap_or(0) {
            0 => stored,
            mask => (stored & !mask) | (live.config.read_reg(own) & mask),
        }
    }

    fn write_part(&mut self, reg: usize, lane: usize, data: &[u8]) -> Option<CapabilityWrite> {
        let (value, lanes) = widen(lane, data);
        self.registers.guest_write(reg, value, lanes);

        let (live, own, offset, id) = self.capabilities.live_at_mut(reg)?;
        let result = live.config.write_reg(own, u64::try_from(lane).ok()?, data)?;
        Some(CapabilityWrite { offset, id, result })
    }
}

/// How an access falls into registers: `head_len` bytes from byte `lane` of `reg`, the rest in the next one.
struct Cut {
    reg: usize,
    lane: usize,
    head_len: usize,
}

impl Cut {
    fn new(offset: u16, len: usize) -> Option<Self> {
        let offset = usize::from(offset);
        let lane = offset % 4;
        matches!(len, 1 | 2 | 4).then(|| Self {
            reg: offset / 4,
            lane,
            head_len: len.min(4 - lane),
        })
    }
}

/// Bytes at their lane of a register: the value, and a mask of the lanes that they fill.
fn widen(lane: usize, data: &[u8]) -> (u32, u32) {
    let (mut value, mut lanes) = ([0; 4], [0; 4]);
    for ((to, filled), from) in value.iter_mut().zip(&mut lanes).skip(lane).zip(data) {
        (*to, *filled) = (*from, 0xff);
    }
    (u32::from_le_bytes(value), u32::from_le_bytes(lanes))
}
