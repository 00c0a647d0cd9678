//! The configuration space as 256 bytes, with rules written by hand for every byte.

use crate::common::device::Heard;

/// The bytes of `function()` after power-on, as a guest reads them.
#[rustfmt::skip]
const POWER_ON: [u8; 0x5c] = [
    0x34, 0x12, 0x78, 0x56, 0x00, 0x00, 0x10, 0x00, 0x04, 0x03, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00,
    0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xbf, 0xfe, 0x21, 0xc0, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xbc, 0x9a, 0xf0, 0xde,
    0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0a, 0x01, 0x00, 0x00,
    0x01, 0x48, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x50, 0x07, 0x01, 0x02, 0x03, 0x04, 0x00,
    0x11, 0x00, 0x3f, 0x80, 0x00, 0x00, 0x00, 0x00, 0x44, 0x33, 0x22, 0x11,
];

/// Which bits of which byte a guest writes; all others are read-only, but for the errors in byte 7.
const WRITABLE: [(usize, u8); 29] = [
    (0x04, 0x47),
    (0x05, 0x05),
    (0x0c, 0xff),
    // BAR 0: 8 KiB, 64 bits.
    (0x11, 0xe0),
    (0x12, 0xff),
    (0x13, 0xff),
    (0x14, 0xff),
    (0x15, 0xff),
    (0x16, 0xff),
    (0x17, 0xff),
    // BAR 2: 4 KiB.
    (0x19, 0xf0),
    (0x1a, 0xff),
    (0x1b, 0xff),
    // BAR 3: 32 ports.
    (0x1c, 0xe0),
    (0x1d, 0xff),
    (0x1e, 0xff),
    (0x1f, 0xff),
    // BAR 4: 16 bytes.
    (0x20, 0xf0),
    (0x21, 0xff),
    (0x22, 0xff),
    (0x23, 0xff),
    (0x3c, 0xff),
    (0x44, 0x03),
    (0x45, 0x01),
    (0x56, 0xff),
    (0x57, 0xff),
    // Read-only by the rules, named to be sure.
    (0x50, 0x00),
    (0x53, 0x00),
    (0xff, 0x00),
];

/// Where a BAR is decoded: number, first address, last address.
pub(crate) type Decoded = (u8, u64, u64);

#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) bytes: [u8; 0x100],
}

impl Model {
    pub(crate) fn new() -> Self {
        let mut bytes = [0; 0x100];
        bytes[..0x5c].copy_from_slice(&POWER_ON);
        Self { bytes }
    }

    pub(crate) fn write(&mut self, offset: u16, data: &[u8]) {
        if ![1, 2, 4].contains(&data.len()) {
            return;
        }
        for (at, byte) in (usize::from(offset)..).zip(data) {
            if at == 7 {
                self.bytes[7] &= !(byte & 0xf9);
            } else if let Some((_, mask)) = WRITABLE.iter().find(|(writable, _)| *writable == at) {
                self.bytes[at] = (self.bytes[at] & !mask) | (byte & mask);
            }
        }
    }

    pub(crate) fn read(&self, offset: u16, len: usize) -> Vec<u8> {
        let valid = [1, 2, 4].contains(&len);
        (usize::from(offset)..)
            .take(len)
            .map(|at| if valid { self.bytes.get(at).copied().unwrap_or(0) } else { 0 })
            .collect()
    }

    pub(crate) fn decoded(&self) -> Vec<Decoded> {
        let dword =
            |at: usize| u64::from(u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap()));
        let (io, memory) = (self.bytes[4] & 1 != 0, self.bytes[4] & 2 != 0);
        let mut found = vec![];
        if memory {
            let wide = (dword(0x14) << 32) + (dword(0x10) / 0x2000 * 0x2000);
            found.push((0, wide, wide + 0x1fff));
            let start = dword(0x18) / 0x1000 * 0x1000;
            found.push((2, start, start + 0xfff));
        }
        if io {
            let start = dword(0x1c) / 32 * 32;
            found.push((3, start, start + 31));
        }
        if memory {
            let start = dword(0x20) / 16 * 16;
            found.push((4, start, start + 15));
        }
        found
    }

    /// What the live capability at 0x50 to 0x5b hears of a write.
    pub(crate) fn heard(offset: u16, data: &[u8]) -> Vec<Heard> {
        let mut heard: Vec<Heard> = vec![];
        if ![1, 2, 4].contains(&data.len()) {
            return heard;
        }
        for (at, byte) in (usize::from(offset)..).zip(data) {
            if !(0x50..0x5c).contains(&at) {
                continue;
            }
            let (register, lane) = ((at - 0x50) / 4, (at % 4) as u64);
            match heard.last_mut() {
                Some(last) if last.0 == register => last.2.push(*byte),
                _ => heard.push(Heard(register, lane, vec![*byte])),
            }
        }
        heard
    }
}
