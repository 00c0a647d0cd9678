//! A model of QEMU's device, written without our crates, that can be broken: what is broken in one of two functions must
//! be found, whichever it is.

use vm_msix::Region;

use super::board::{BELLS, BLANK, Board, Delivered, MEMORY, PEER, written};
use super::error::QemuError;
use super::op::{Access, Op};
use super::oracle::{Oracle, Seen};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Words written to the table have an effect.
    TableTakesWords,
    /// A pending vector sends twice when it is unmasked.
    UnmaskSendsTwice,
    /// Sending leaves the Pending Bit set.
    PendingStays,
    /// Function Mask off does not look for pending vectors.
    FunctionUnmaskForgets,
    /// A masked vector keeps the message that it had when it became pending.
    OldMessage,
    /// Disabling clears what is pending.
    DisableForgets,
    /// The PBA is written by the guest.
    PbaTakesWrites,
    /// Message Control has one more bit.
    ReservedControlBit,
    /// Reset leaves entries unmasked.
    ResetLeavesUnmasked,
}

/// The device.
pub(super) struct Fake {
    fault: Fault,
    board: Board,
    capability: [u8; 12],
    entries: Vec<[u32; 4]>,
    pending: Vec<Option<(u64, u32)>>,
    bus_master: bool,
    memory: Vec<u8>,
    delivered: Delivered,
}

impl Fake {
    /// It shows this capability, but for the next pointer.
    pub(super) fn new(mut capability: [u8; 12], board: Board, fault: Fault) -> Self {
        capability[1] = 0x70;
        let vectors = usize::from(u16::from_le_bytes([capability[2], capability[3]])) + 1;
        let memory = vec![BLANK; board.memory_size() as usize];
        Self {
            fault,
            board,
            capability,
            entries: vec![[0, 0, 0, 1]; vectors],
            pending: vec![None; vectors],
            bus_master: false,
            memory,
            delivered: Delivered::default(),
        }
    }

    fn enabled(&self) -> bool {
        self.capability[3] & 0x80 != 0
    }

    fn function_masked(&self) -> bool {
        self.capability[3] & 0xc0 != 0x80
    }

    fn masked(&self, vector: usize) -> bool {
        self.function_masked() || self.entries[vector][3] & 1 != 0
    }

    fn message(&self, vector: usize) -> (u64, u32) {
        let [low, high, data, _] = self.entries[vector];
        (u64::from(high) << 32 | u64::from(low), data)
    }

    fn signal(&mut self, vector: usize) {
        if !self.enabled() {
            return;
        }
        match self.masked(vector) {
            true => self.pending[vector] = Some(self.message(vector)),
            false => self.send(self.message(vector)),
        }
    }

    fn unmasked(&mut self, vector: usize) {
        let Some(old) = self.pending[vector] else { return };
        if self.fault != Fault::PendingStays {
            self.pending[vector] = None;
        }
        let message = if self.fault == Fault::OldMessage { old } else { self.message(vector) };
        let times = if self.fault == Fault::UnmaskSendsTwice { 2 } else { 1 };
        (0..times).for_each(|_| self.send(message));
    }

    fn send(&mut self, (address, data): (u64, u32)) {
        if !self.bus_master {
            return;
        }
        if Some(address) == self.board.doorbell.map(u64::from) {
            let bell = data.to_le_bytes()[0];
            if data >> 16 == u32::from(PEER) && bell < BELLS {
                *self.delivered.rung.entry(bell).or_default() += 1;
            }
        } else if let Some(at) = address.checked_sub(MEMORY)
            && let Some(slot) = self.memory.get_mut(at as usize..at as usize + 4)
        {
            slot.copy_from_slice(&data.to_le_bytes());
        }
    }

    /// The memory system cuts an access into aligned pieces, of at most 4 bytes for these registers.
    fn pieces(access: &Access) -> Vec<(usize, usize)> {
        let (mut at, end) = (usize::from(access.offset), usize::from(access.end()));
        let mut pieces = Vec::new();
        while at < end {
            let len = [4, 2, 1].into_iter().find(|len| at % len == 0 && at + len <= end).unwrap();
            pieces.push((at, len));
            at += len;
        }
        pieces
    }

    fn write(&mut self, access: &Access, value: u64) {
        let bytes = value.to_le_bytes();
        for (at, len) in Self::pieces(access) {
            let start = at - usize::from(access.offset);
            let mut piece = [0; 4];
            piece[..len].copy_from_slice(&bytes[start..start + len]);
            match (access.region, len) {
                (Region::Capability, _) => {
                    (0..len).for_each(|lane| self.write_capability(at + lane, piece[lane]));
                }
                (Region::Table, 4) => self.write_table(at, u32::from_le_bytes(piece)),
                (Region::Table, 2) if self.fault == Fault::TableTakesWords && at % 4 == 0 => {
                    self.write_table(at, u32::from_le_bytes(piece));
                }
                (Region::Pba, 4) if self.fault == Fault::PbaTakesWrites && at == 0 => {
                    self.pending[0] = (piece[0] & 1 != 0).then(|| self.message(0));
                }
                _ => {}
            }
        }
    }

    fn write_capability(&mut self, at: usize, byte: u8) {
        if self.fault == Fault::ReservedControlBit && at == 3 {
            self.capability[3] = self.capability[3] & !0x20 | byte & 0x20;
        }
        if at != 3 {
            return;
        }
        let masked: Vec<_> = (0..self.entries.len()).map(|vector| self.masked(vector)).collect();
        self.capability[3] = self.capability[3] & !0xc0 | byte & 0xc0;
        if self.fault == Fault::DisableForgets && !self.enabled() {
            self.pending.fill(None);
        }
        for (vector, masked) in masked.into_iter().enumerate() {
            let is_forgotten = self.fault == Fault::FunctionUnmaskForgets;
            if masked && !self.masked(vector) && !is_forgotten {
                self.unmasked(vector);
            }
        }
    }

    fn write_table(&mut self, at: usize, value: u32) {
        let vector = at / 16;
        let masked = self.masked(vector);
        self.entries[vector][at % 16 / 4] = value;
        if masked && !self.masked(vector) {
            self.unmasked(vector);
        }
    }

    fn read(&self, access: &Access) -> u64 {
        let mut bytes = [0; 8];
        for (at, len) in Self::pieces(access) {
            let piece = match (access.region, len) {
                (Region::Capability, _) => self.capability[at..at + len].to_vec(),
                (Region::Table, 4) => self.entries[at / 16][at % 16 / 4].to_le_bytes().to_vec(),
                (Region::Pba, 4) => self.pending_bytes()[at..at + 4].to_vec(),
                _ => continue,
            };
            let start = at - usize::from(access.offset);
            bytes[start..start + len].copy_from_slice(&piece);
        }
        u64::from_le_bytes(bytes)
    }

    fn pending_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.entries.len().div_ceil(64) * 8];
        for (vector, pending) in self.pending.iter().enumerate() {
            bytes[vector / 8] |= u8::from(pending.is_some()) << (vector % 8);
        }
        bytes
    }

    fn reset(&mut self) {
        self.capability[3] &= 0x3f;
        let control = if self.fault == Fault::ResetLeavesUnmasked { 0 } else { 1 };
        self.entries.fill([0, 0, 0, control]);
        self.pending.fill(None);
        self.bus_master = true;
    }
}

impl Oracle for Fake {
    fn apply(&mut self, op: &Op) -> Result<Seen, QemuError> {
        let mut answer = 0;
        match op {
            Op::Read(access) => answer = self.read(access),
            Op::Write(access, value) => self.write(access, *value),
            Op::Program(vector, dwords) => (0..4).for_each(|register| {
                self.write_table(usize::from(*vector) * 16 + register * 4, dwords[register]);
            }),
            Op::Trigger(vector) => self.signal((*vector).into()),
            Op::BusMaster(allowed) => self.bus_master = *allowed,
            Op::Reset => self.reset(),
        }
        let pending = self.pending_bytes();
        let pending = pending.chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
        let pending = pending.collect();
        let control = u16::from_le_bytes([self.capability[2], self.capability[3]]);
        let mut delivered = std::mem::take(&mut self.delivered);
        delivered.written = written(&self.memory);
        self.memory.fill(BLANK);
        Ok(Seen { answer, control, pending, delivered })
    }

    fn table(&mut self) -> Result<Vec<u8>, QemuError> {
        Ok(self.entries.as_flattened().iter().flat_map(|dword| dword.to_le_bytes()).collect())
    }
}
