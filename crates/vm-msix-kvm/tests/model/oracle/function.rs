//! One function: its registers, and what follows from them.

use super::super::ops::{Control, Message, SeenFunction};
use super::host::Host;
use super::line::{Line, Taker};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) control: Control,
    pub(super) bus_master: bool,
    pub(super) lines: Vec<Line>,
    pub(super) is_over: bool,
}

const AFTER_RESET: Control = Control { enabled: false, masked: false };

impl Function {
    pub(super) fn new(number: u8, vectors: u16) -> Self {
        let lines = (0..vectors).map(|vector| Line::new((number, vector))).collect();
        Self { control: AFTER_RESET, bus_master: true, lines, is_over: false }
    }

    /// What the guest wants of a vector: its message, or silence.
    fn wish(&self, vector: usize) -> Option<Message> {
        let line = &self.lines[vector];
        let may_send = self.control == Control { enabled: true, masked: false } && self.bus_master;
        (may_send && !line.mask_bit).then_some(line.message)
    }

    pub(super) fn hear(&mut self) {
        for line in &mut self.lines {
            if let Some(trouble) = line.news.take() {
                line.belief.fail(trouble);
            }
        }
    }

    /// Tells of everything that is not as the registers ask. `room`: also of what failed for want of something.
    pub(super) fn sync(&mut self, room: bool, host: &mut Host<'_>) {
        self.hear();
        for vector in 0..self.lines.len() {
            let wish = self.wish(vector);
            let line = &mut self.lines[vector];
            if line.belief.tell(wish, room)
                && let Err(trouble) = line.obey(wish, host)
            {
                line.belief.fail(trouble);
            }
        }
        self.forget_unheld(host);
        if !host.defers {
            self.commit(host);
            self.hear();
        }
    }

    pub(super) fn commit(&mut self, host: &mut Host<'_>) {
        self.lines.iter_mut().for_each(|line| line.commit(host));
    }

    pub(super) fn serve_loop(&mut self, host: &mut Host<'_>) {
        for line in &mut self.lines {
            if line.outside.as_ref().is_some_and(|outside| outside.taker == Taker::Loop) {
                line.pass_on(host);
            }
        }
    }

    fn forget_unheld(&mut self, host: &mut Host<'_>) {
        self.lines.iter_mut().for_each(|line| line.forget_unheld(host));
    }

    /// Registers as after reset, nothing pending, and everything given back.
    pub(super) fn reset(&mut self, host: &mut Host<'_>) {
        self.control = AFTER_RESET;
        for line in &mut self.lines {
            (line.mask_bit, line.message.programming) = (true, false);
        }
        self.sync(false, host);
        for line in &mut self.lines {
            line.retract();
            line.belief = Default::default();
        }
        self.release(host);
    }

    pub(super) fn release(&mut self, host: &mut Host<'_>) {
        for line in &mut self.lines {
            if let Err(trouble) = line.obey(None, host) {
                line.belief.fail(trouble);
            }
        }
        self.forget_unheld(host);
        self.lines
            .iter_mut()
            .filter_map(|line| line.outside.as_mut())
            .for_each(|outside| outside.give_gsi_back(host));
    }

    /// What is saved now is restored at once.
    pub(super) fn save_and_restore(&mut self, host: &mut Host<'_>) {
        let saved = self.clone();
        self.reset(host);
        self.control = saved.control;
        for (line, saved) in self.lines.iter_mut().zip(saved.lines) {
            line.kept = saved.is_pending();
            (line.mask_bit, line.message) = (saved.mask_bit, saved.message);
        }
        self.sync(false, host);
    }

    /// The first two vectors' eventfds change places.
    pub(super) fn swap(&mut self, host: &mut Host<'_>) -> Result<(), ()> {
        let [one, other, ..] = &mut self.lines[..] else { return Ok(()) };
        let withdrawn = one.withdraw(host).and_then(|()| other.withdraw(host));
        if withdrawn.is_ok() {
            std::mem::swap(&mut one.outside, &mut other.outside);
        }
        // Each eventfd in turn, where it is now.
        for line in [other, one] {
            let is_left = |taker| taker == Taker::Nobody;
            if line.outside.as_ref().is_some_and(|outside| outside.held && is_left(outside.taker)) {
                line.attach_again(host);
            }
        }
        self.forget_unheld(host);
        if !host.defers {
            self.commit(host);
        }
        withdrawn.map_err(drop)
    }

    pub(super) fn unsynced(&self) -> Vec<u16> {
        (0..)
            .zip(&self.lines)
            .filter(|&(vector, line)| !line.belief.is_true(self.wish(usize::from(vector))))
            .map(|(vector, _)| vector)
            .collect()
    }

    pub(super) fn seen(&self) -> SeenFunction {
        if self.is_over {
            return SeenFunction::default();
        }
        let lines = || (0..).zip(&self.lines);
        let polled = |line: &&Line| {
            line.outside.as_ref().is_some_and(|outside| outside.taker == Taker::Loop)
        };
        SeenFunction {
            pending: lines()
                .filter(|(_, line)| line.is_pending())
                .map(|(vector, _)| vector)
                .collect(),
            unsynced: self.unsynced(),
            polled: self.lines.iter().filter(polled).count(),
        }
    }
}
