//! Who watches a function's MSI-X: counters always, and a recording if somebody asked for one.

use std::error::Error;
use std::sync::OnceLock;

use vm_msix::{Counters, Counts, IllegalAccess, MsixObserver, Route, Signal, VectorIndex};

use super::recording::{Recording, Turn};

/// Counts what becomes of signals, and has it written down.
#[derive(Default)]
pub(crate) struct Watch {
    counters: Counters,
    recording: OnceLock<Recording>,
}

impl Watch {
    /// What became of signals so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// From now on everything is written down, too.
    pub(super) fn record(&self, recording: Recording) {
        // Whoever came first goes on.
        let _ = self.recording.set(recording);
    }

    /// Whoever accesses registers or signals does it in a turn, where there is a recording: its lines are in the order in which
    /// things happened.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        self.recording.get().map(Recording::turn)
    }
}

impl MsixObserver for Watch {
    fn signalled(&self, vector: VectorIndex, signal: Signal) {
        self.counters.signalled(vector, signal);
        if let Some(recording) = self.recording.get() {
            recording.signalled(vector, signal);
        }
    }

    fn signal_failed(&self, vector: VectorIndex, error: &dyn Error) {
        self.counters.signal_failed(vector, error);
    }

    fn delivered(&self, vector: VectorIndex) {
        self.counters.delivered(vector);
        if let Some(recording) = self.recording.get() {
            recording.sent(vector);
        }
    }

    fn retracted(&self, vector: VectorIndex) {
        self.counters.retracted(vector);
        if let Some(recording) = self.recording.get() {
            recording.retracted(vector);
        }
    }

    fn route_changed(&self, vector: VectorIndex, route: Route) {
        self.counters.route_changed(vector, route);
        if let Some(recording) = self.recording.get() {
            recording.route_changed(vector, route);
        }
    }

    fn route_failed(&self, vector: VectorIndex, error: &dyn Error) {
        self.counters.route_failed(vector, error);
    }

    fn illegal_access(&self, access: IllegalAccess) {
        self.counters.illegal_access(access);
    }
}
