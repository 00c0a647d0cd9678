//! The contract in other words than the crate's, to judge it by: registers that are bytes, and for each vector
//! what its host really does, what the host was told last, and what a failure is waiting for.
//!
//! It shares no decision with the crate: of `vm_msix` it uses the plain numbers of [`Counts`] only.

mod faults;
mod line;
mod registers;

use self::faults::Faults;
use self::line::Line;
use self::registers::{RegisterFile, span};
use super::ops::{Answer, Fault, Kind, Message, Op, Seen};
use vm_msix::Counts;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Oracle {
    registers: RegisterFile,
    lines: Vec<Line>,
    faults: Faults,
    counts: Counts,
    saved: Option<Saved>,
}

/// The registers, and which vectors were pending.
type Saved = (RegisterFile, Vec<bool>);

impl Oracle {
    pub(crate) fn new(vectors: u16) -> Self {
        Self {
            registers: RegisterFile::new(vectors),
            lines: vec![Line::NEW; vectors.into()],
            faults: Faults::default(),
            counts: Counts::default(),
            saved: None,
        }
    }

    pub(crate) fn registers(&self) -> &RegisterFile {
        &self.registers
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Everything but what an observer has counted: equal if nothing has happened.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.registers == other.registers
            && self.lines == other.lines
            && self.faults == other.faults
            && self.saved == other.saved
    }

    pub(crate) fn live(&self, vector: usize) -> Option<Message> {
        self.lines[vector].live
    }

    pub(crate) fn pba(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.lines.len().div_ceil(64) * 8];
        for (vector, _) in self.lines.iter().enumerate().filter(|(_, line)| line.pending) {
            bytes[vector / 8] |= 1 << (vector % 8);
        }
        bytes
    }

    /// What a read of the table gives: zeros where there is nothing.
    pub(crate) fn read_table(&mut self, offset: u64, len: usize) -> Vec<u8> {
        let table = self.registers.table();
        let span = span(offset, len, table.len());
        let data = span.map(|span| table[span].to_vec());
        self.zeros_if_illegal(data, len)
    }

    /// The same of the PBA.
    pub(crate) fn read_pba(&mut self, offset: u64, len: usize) -> Vec<u8> {
        let pba = self.pba();
        let data = span(offset, len, pba.len()).map(|span| pba[span].to_vec());
        self.zeros_if_illegal(data, len)
    }

    fn zeros_if_illegal(&mut self, data: Option<Vec<u8>>, len: usize) -> Vec<u8> {
        self.counts.illegal_accesses += u64::from(data.is_none());
        data.unwrap_or_else(|| vec![0; len])
    }

    pub(crate) fn unsynced(&self) -> Vec<u16> {
        (0..)
            .zip(&self.lines)
            .filter(|&(vector, line)| !line.is_told(self.registers.wish(usize::from(vector))))
            .map(|(vector, _)| vector)
            .collect()
    }

    pub(crate) fn faults_are_spent(&self) -> bool {
        self.faults.are_spent()
    }

    pub(crate) fn arm(&mut self, fault: Fault) {
        if let Fault::Late(vector, _) = fault {
            self.lines[usize::from(vector)].live = None;
        }
        self.faults.arm(fault);
    }

    pub(crate) fn run(&mut self, op: Op) -> Seen {
        let mut seen = Seen { answer: Answer::Done, batches: Vec::new(), sent: Vec::new() };
        seen.answer = self.step(op, &mut seen);
        seen.sent.sort_by_key(|&(vector, _)| vector);
        seen
    }

    fn step(&mut self, op: Op, seen: &mut Seen) -> Answer {
        match op {
            Op::Capability(offset, bytes) => {
                match self.registers.write_capability(offset, bytes.as_slice()) {
                    None => self.illegal(),
                    Some(None) => Answer::NothingToDo,
                    Some(Some(changed)) => {
                        self.sync_all(true, seen);
                        if changed { Answer::Changed } else { Answer::NothingToDo }
                    }
                }
            }
            Op::Table(offset, bytes) => {
                match self.registers.write_table(offset, bytes.as_slice()) {
                    None => self.illegal(),
                    Some((vector, changed)) => {
                        self.sync_all(false, seen);
                        if changed { Answer::EntryChanged(vector) } else { Answer::NothingToDo }
                    }
                }
            }
            Op::Pba(..) => self.illegal(),
            Op::Trigger(vector) => self.trigger(vector, seen),
            Op::Retract(vector) => match self.lines.get(usize::from(vector)) {
                None => Answer::NoSuchVector,
                Some(_) => Answer::Retracted(self.take_back(vector.into())),
            },
            Op::BusMaster(allowed) => {
                self.registers.bus_master = allowed;
                self.sync_all(false, seen);
                Answer::Done
            }
            Op::Reset => {
                self.reset(seen);
                Answer::Done
            }
            Op::SaveRestore => {
                let saved = self.save();
                self.restore(saved, seen);
                Answer::Done
            }
            Op::Save => {
                self.saved = Some(self.save());
                Answer::Done
            }
            Op::Restore => {
                if let Some(saved) = self.saved.clone() {
                    self.restore(saved, seen);
                }
                Answer::Done
            }
            Op::Pause | Op::Resume => {
                self.registers.paused = op == Op::Pause;
                self.sync_all(false, seen);
                Answer::Done
            }
            Op::Flush => self.flush(seen),
        }
    }

    fn illegal(&mut self) -> Answer {
        self.counts.illegal_accesses += 1;
        Answer::NothingToDo
    }

    fn trigger(&mut self, vector: u16, seen: &mut Seen) -> Answer {
        let Some(line) = self.lines.get_mut(usize::from(vector)) else {
            return Answer::NoSuchVector;
        };
        match line.live {
            Some(_) if self.faults.take_send() => {
                self.counts.failed += 1;
                Answer::NotSent
            }
            Some(message) => {
                self.counts.sent += 1;
                seen.sent.push((vector, message));
                Answer::Sent
            }
            None if line.pending => {
                self.counts.collapsed += 1;
                Answer::Collapsed
            }
            None => {
                line.pending = true;
                self.counts.latched += 1;
                Answer::Latched
            }
        }
    }

    fn take_back(&mut self, vector: usize) -> bool {
        let was = std::mem::replace(&mut self.lines[vector].pending, false);
        self.counts.retracted += u64::from(was);
        was
    }

    fn reset(&mut self, seen: &mut Seen) {
        self.registers.reset();
        self.sync_all(false, seen);
        for vector in 0..self.lines.len() {
            self.take_back(vector);
            self.lines[vector] = Line::NEW;
        }
    }

    fn save(&self) -> Saved {
        (self.registers.clone(), self.lines.iter().map(|line| line.pending).collect())
    }

    /// Who paused the function goes on having it paused.
    fn restore(&mut self, (registers, pending): Saved, seen: &mut Seen) {
        let paused = self.registers.paused;
        self.reset(seen);
        self.registers = registers;
        self.registers.paused = paused;
        for (line, pending) in self.lines.iter_mut().zip(pending) {
            line.pending = pending;
            self.counts.latched += u64::from(pending);
        }
        self.sync_all(false, seen);
    }

    fn flush(&mut self, seen: &mut Seen) -> Answer {
        self.sync_all(true, seen);
        match *self.unsynced() {
            [] => Answer::Flushed,
            [first, ref others @ ..] => Answer::Unsynced { vectors: 1 + others.len(), first },
        }
    }

    fn sync_all(&mut self, room: bool, seen: &mut Seen) {
        self.sync(0..self.lines.len(), room, seen);
    }

    /// Tells the host about all in the range that differ, in one batch.
    fn sync(&mut self, range: std::ops::Range<usize>, room: bool, seen: &mut Seen) {
        while let Some((vector, kind)) = self.faults.take_late() {
            self.failed(vector, kind);
        }
        let news: Vec<_> = range
            .map(|vector| (vector, self.registers.wish(vector)))
            .filter(|&(vector, wish)| self.lines[vector].is_to_be_told(wish, room))
            .collect();
        for &(vector, wish) in &news {
            self.counts.routes_changed += 1;
            self.lines[vector].tell(wish);
            self.obey(vector, wish, seen);
        }
        if !news.is_empty() {
            let plain = |(vector, wish)| (u16::try_from(vector).unwrap(), wish);
            seen.batches.push(news.into_iter().map(plain).collect());
        }
    }

    /// What the host does when told, and what goes wrong.
    fn obey(&mut self, vector: usize, wish: Option<Message>, seen: &mut Seen) {
        let Some(message) = wish else {
            if self.faults.take_close(vector) {
                return self.failed(vector, Kind::StillOpen);
            }
            self.lines[vector].live = None;
            return;
        };
        if let Some(kind) = self.faults.take_open(vector) {
            if kind != Kind::StillOpen {
                self.lines[vector].live = None;
            }
            return self.failed(vector, kind);
        }
        self.lines[vector].live = Some(message);
        if !self.lines[vector].pending {
            return;
        }
        if self.faults.take_send() {
            self.lines[vector].live = None;
            return self.failed(vector, Kind::Exhausted);
        }
        self.lines[vector].pending = false;
        self.counts.delivered += 1;
        seen.sent.push((u16::try_from(vector).unwrap(), message));
    }

    fn failed(&mut self, vector: usize, kind: Kind) {
        self.counts.routes_failed += 1;
        self.lines[vector].fail(kind);
    }
}
