//! A configuration space as a chip would have it: 256 bytes, and for each of them which bits a guest can write.

use super::device::{Device, Heard};
use super::ops::{BarSpec, CapabilitySpec, Kind};

/// What a live capability's device supplies of each register, as many as there is room for.
const MASKS: [u32; 48] = {
    let mut masks = [0xff00_00f0; 48];
    masks[0] = 0xc000_0000;
    masks
};

/// What it has in every register.
const SHOWN: u32 = 0x9abc_def0;

/// That device, with so many registers.
pub(super) fn device(registers: u8) -> Device {
    let registers = usize::from(registers).min(MASKS.len());
    Device::new(&MASKS[..registers], |_| SHOWN)
}

/// Where a BAR is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) io: bool,
    pub(super) first: u128,
    pub(super) size: u128,
}

/// A live capability.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) first: usize,
    pub(super) end: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Chip {
    pub(super) stored: [u8; 256],
    power_on: [u8; 256],
    writable: [u8; 256],
    bars: [Option<BarSpec>; 6],
    /// Where the last capability begins, and the first byte behind it.
    last: Option<usize>,
    end: usize,
    pub(super) live: Vec<Live>,
}

/// The errors in Status, which a one clears.
const ERRORS: u8 = 0b1111_1001;

impl Chip {
    pub(super) fn new(pci_id: u32) -> Self {
        let mut stored = [0; 256];
        stored[..4].copy_from_slice(&pci_id.to_le_bytes());
        let mut writable = [0; 256];
        (writable[0x04], writable[0x05]) = (0b0100_0111, 0b0000_0101);
        (writable[0x0c], writable[0x3c]) = (0xff, 0xff);
        let (bars, live) = ([None; 6], Vec::new());
        Self { stored, power_on: stored, writable, bars, last: None, end: 0x40, live }
    }

    /// Tells whether there can be such a BAR.
    pub(super) fn add_bar(&mut self, spec: BarSpec) -> bool {
        let at = usize::from(spec.index);
        let wide = is_wide(spec);
        let size = u128::from(spec.size());
        let address = u128::from(spec.address);
        let (least, most, space) = match spec.kind {
            Kind::Io => (4, 256, 1 << 32),
            Kind::Memory32 | Kind::Prefetchable32 => (16, 1 << 31, 1 << 32),
            Kind::Memory64 | Kind::Prefetchable64 => (16, 1 << 63, 1 << 64),
        };
        let is_free = |at: usize| {
            let below = at.checked_sub(1).and_then(|below| self.bars[below]);
            self.bars[at].is_none() && !below.is_some_and(is_wide)
        };
        let has_room = is_free(at) && (!wide || at < 5 && is_free(at + 1));
        let legal = (2..64).any(|bit| size == 1 << bit)
            && (least..=most).contains(&size)
            && address % size == 0
            && address + size <= space;
        if !legal || !has_room {
            return false;
        }
        let flags = match spec.kind {
            Kind::Io => 1,
            Kind::Memory32 => 0,
            Kind::Prefetchable32 => 8,
            Kind::Memory64 => 4,
            Kind::Prefetchable64 => 12,
        };
        // What can be written are the bits of the multiples of the size.
        let bits = ((space - size) as u64).to_le_bytes();
        let value = (spec.address + flags).to_le_bytes();
        let len = if wide { 8 } else { 4 };
        let span = 0x10 + 4 * at..0x10 + 4 * at + len;
        self.writable[span.clone()].copy_from_slice(&bits[..len]);
        self.power_on[span.clone()].copy_from_slice(&value[..len]);
        self.stored[span].copy_from_slice(&value[..len]);
        self.bars[at] = Some(spec);
        true
    }

    /// Where the capability goes, if there can be such a one.
    pub(super) fn add_capability(&mut self, spec: &CapabilitySpec) -> Option<usize> {
        let len = (spec.body.len() + 2).next_multiple_of(4);
        let (first, end) = (self.end, self.end + len);
        let masks: Vec<u8> = spec.writable.iter().flat_map(|mask| mask.to_le_bytes()).collect();
        let claims_header = masks.iter().take(2).any(|mask| *mask != 0);
        let lives = spec.live.is_none_or(|registers| 4 * usize::from(registers) == len);
        if end > 256 || masks.len() > len || claims_header || !lives {
            return None;
        }
        let bytes = [&[spec.id, 0], spec.body.as_slice()].concat();
        self.stored[first..first + bytes.len()].copy_from_slice(&bytes);
        self.power_on[first..end].copy_from_slice(&self.stored[first..end]);
        self.writable[first..first + masks.len()].copy_from_slice(&masks);
        self.stored[self.last.map_or(0x34, |last| last + 1)] = first as u8;
        self.stored[6] |= 0x10;
        (self.last, self.end) = (Some(first), end);
        if spec.live.is_some() {
            self.live.push(Live { first, end });
        }
        Some(first)
    }

    fn byte(&self, at: usize) -> u8 {
        let Some(&stored) = self.stored.get(at) else { return 0 };
        match self.live.iter().find(|live| (live.first..live.end).contains(&at)) {
            None => stored,
            Some(live) => {
                let mask = MASKS[(at - live.first) / 4].to_le_bytes()[at % 4];
                stored & !mask | SHOWN.to_le_bytes()[at % 4] & mask
            }
        }
    }

    pub(super) fn read(&self, offset: u16, len: usize) -> Vec<u8> {
        let at = usize::from(offset);
        match len {
            1 | 2 | 4 => (at..at + len).map(|at| self.byte(at)).collect(),
            _ => vec![0; len],
        }
    }

    /// What live capabilities hear of it.
    pub(super) fn write(&mut self, offset: u16, data: &[u8]) -> Vec<Heard> {
        let mut heard: Vec<Heard> = Vec::new();
        if ![1, 2, 4].contains(&data.len()) {
            return heard;
        }
        for (at, &byte) in (usize::from(offset)..256).zip(data) {
            let mask = self.writable[at];
            self.stored[at] = self.stored[at] & !mask | byte & mask;
            if at == 7 {
                self.stored[7] &= !(byte & ERRORS);
            }
            let Some(live) = self.live.iter().find(|live| (live.first..live.end).contains(&at))
            else {
                continue;
            };
            let (register, lane) = ((at - live.first) / 4, (at % 4) as u64);
            match heard.last_mut() {
                Some(last) if lane > 0 && last.0 == register => last.2.push(byte),
                _ => heard.push(Heard(register, lane, vec![byte])),
            }
        }
        heard
    }

    pub(super) fn reset(&mut self) {
        for at in 0..256 {
            let mask = self.writable[at];
            self.stored[at] = self.stored[at] & !mask | self.power_on[at] & mask;
        }
        self.stored[7] &= !ERRORS;
        self.stored[6] &= !0x08;
    }

    /// The bits of a byte that a guest can change.
    fn changeable(&self, at: usize) -> u8 {
        self.writable[at] | if at == 7 { ERRORS } else { 0 }
    }

    /// What a saved state has of these bytes.
    pub(super) fn save(&self) -> [u8; 256] {
        std::array::from_fn(|at| self.stored[at] & self.changeable(at))
    }

    /// Tells whether a guest can have written this.
    pub(super) fn restore(&mut self, saved: &[u8; 256]) -> bool {
        let legal = (0..256).all(|at| saved[at] & !self.changeable(at) == 0);
        if legal {
            let kept = |at: usize| self.stored[at] & !self.changeable(at);
            self.stored = std::array::from_fn(|at| kept(at) | saved[at]);
        }
        legal
    }

    pub(super) fn command(&self) -> u16 {
        u16::from_le_bytes([self.stored[4], self.stored[5]])
    }

    pub(super) fn decoded(&self) -> [Option<Placed>; 6] {
        std::array::from_fn(|at| {
            let spec = self.bars[at]?;
            let io = spec.kind == Kind::Io;
            let enabled = self.command() & if io { 1 } else { 2 } != 0;
            let len = if is_wide(spec) { 8 } else { 4 };
            let bytes = &self.stored[0x10 + 4 * at..0x10 + 4 * at + len];
            let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u128::from(*byte));
            let size = u128::from(spec.size());
            enabled.then_some(Placed { io, first: value - value % size, size })
        })
    }

    /// The BAR that takes the access, and the offset in it.
    pub(super) fn hit(&self, io: bool, address: u64, len: usize) -> Option<(usize, u128)> {
        let (first, end) = (u128::from(address), u128::from(address) + len as u128);
        (0..).zip(self.decoded()).find_map(|(at, placed)| {
            let placed = placed.filter(|placed| placed.io == io && len > 0)?;
            let inside = placed.first <= first && end <= placed.first + placed.size;
            inside.then(|| (at, first - placed.first))
        })
    }

    /// What a guest that has written ones reads from the BAR: two's complement of its size, with its flags.
    pub(super) fn sized(&self, at: usize) -> Option<(u64, usize)> {
        let spec = self.bars[at]?;
        let flags = self.stored[0x10 + 4 * at] & if spec.kind == Kind::Io { 3 } else { 15 };
        let len = if is_wide(spec) { 8 } else { 4 };
        Some((spec.size().wrapping_neg() | u64::from(flags), len))
    }
}

fn is_wide(spec: BarSpec) -> bool {
    matches!(spec.kind, Kind::Memory64 | Kind::Prefetchable64)
}
