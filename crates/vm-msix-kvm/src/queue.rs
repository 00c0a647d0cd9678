//! What the committer has to do: a leaf among the locks, held for a push or a take.

use std::sync::{Arc, Weak};

use crate::function::Function;
use crate::irqfd::IrqfdVector;
use crate::mass_close::MassClose;
use crate::route_table::Gsi;

/// What is to be committed, and what waits for that.
#[derive(Default)]
pub(crate) struct Queue {
    openings: Vec<Openings>,
    /// Batches that are being gathered.
    batches: usize,
    /// Whoever commits has been told that there is something to do, and looks here before it sleeps: nobody sleeps with this
    /// set. Who takes what there is clears it, and who is about to sleep.
    kicked: bool,
    /// Closes that go on, and are faster with help.
    closes: Vec<Arc<MassClose>>,
    /// A commit goes on, for tickets that may be void by now.
    committing: bool,
    /// GSIs that were given back meanwhile. They may be in the commit, so nobody else may have them before its end.
    returned: Vec<Gsi>,
    /// Nothing comes any more.
    stopped: bool,
}

/// Vectors of one function that KVM is to listen to when their routes have been committed.
pub(crate) struct Openings {
    pub(crate) function: Weak<Function>,
    pub(crate) irqfds: Vec<Arc<IrqfdVector>>,
}

impl Queue {
    pub(crate) fn push(&mut self, openings: Openings) {
        self.openings.push(openings);
    }

    pub(crate) fn len(&self) -> usize {
        self.openings.iter().map(|openings| openings.irqfds.len()).sum()
    }

    /// Whether there is something to commit, and nobody gathers more.
    pub(crate) fn is_due(&self) -> bool {
        self.batches == 0 && !self.openings.is_empty()
    }

    /// Whether there is something to commit. If not, the caller goes to sleep, and is to be kicked for what comes.
    pub(crate) fn is_due_before_sleep(&mut self) -> bool {
        let is_due = self.is_due();
        self.kicked &= is_due;
        is_due
    }

    /// Whether whoever commits must be told that something is due, and has not been told.
    pub(crate) fn wants_kick(&mut self) -> bool {
        self.batches == 0 && !std::mem::replace(&mut self.kicked, true)
    }

    /// What is due.
    pub(crate) fn take_due(&mut self) -> Vec<Openings> {
        if self.batches > 0 {
            // The end of the batch kicks anew.
            self.kicked = false;
            return Vec::new();
        }
        self.take_all()
    }

    /// What there is, gathered or not.
    pub(crate) fn take_all(&mut self) -> Vec<Openings> {
        self.kicked = false;
        std::mem::take(&mut self.openings)
    }

    pub(crate) fn begin_batch(&mut self) {
        self.batches += 1;
    }

    pub(crate) fn end_batch(&mut self) {
        self.batches -= 1;
    }

    pub(crate) fn push_close(&mut self, close: Arc<MassClose>) {
        self.closes.push(close);
    }

    pub(crate) fn take_closes(&mut self) -> Vec<Arc<MassClose>> {
        std::mem::take(&mut self.closes)
    }

    pub(crate) fn begin_commit(&mut self) {
        self.committing = true;
    }

    /// What waited for it can be given back.
    pub(crate) fn end_commit(&mut self) {
        self.committing = false;
    }

    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The GSIs that can be given back at once: none while a commit goes on.
    pub(crate) fn give_back(&mut self, gsis: Vec<Gsi>) -> Vec<Gsi> {
        self.returned.extend(gsis);
        if self.committing { Vec::new() } else { std::mem::take(&mut self.returned) }
    }
}
