//! What was told to go wrong and has not yet.

use std::collections::VecDeque;

use super::super::ops::{Fault, Kind};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    opens: Vec<(usize, Kind)>,
    closes: Vec<usize>,
    sends: usize,
    late: VecDeque<(usize, Kind)>,
}

impl Faults {
    pub(crate) fn arm(&mut self, fault: Fault) {
        match fault {
            Fault::Open(vector, kind) => self.opens.push((vector.into(), kind)),
            Fault::Close(vector) => self.closes.push(vector.into()),
            Fault::Sends(sends) => self.sends = sends,
            Fault::Late(vector, kind) => self.late.push_back((vector.into(), kind)),
        }
    }

    /// All that was to go wrong with the next call of the backend has; what comes late may be under way.
    pub(crate) fn are_spent(&self) -> bool {
        self.opens.is_empty() && self.closes.is_empty() && self.sends == 0
    }

    pub(crate) fn take_open(&mut self, vector: usize) -> Option<Kind> {
        let at = self.opens.iter().position(|&(of, _)| of == vector)?;
        Some(self.opens.remove(at).1)
    }

    pub(crate) fn take_close(&mut self, vector: usize) -> bool {
        let at = self.closes.iter().position(|&of| of == vector);
        at.map(|at| self.closes.remove(at)).is_some()
    }

    pub(crate) fn take_send(&mut self) -> bool {
        let fails = self.sends > 0;
        self.sends = self.sends.saturating_sub(1);
        fails
    }

    pub(crate) fn take_late(&mut self) -> Option<(usize, Kind)> {
        self.late.pop_front()
    }
}
