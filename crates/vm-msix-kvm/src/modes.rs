//! Into irqfd mode and out of it, and eventfds that change their vectors: while the device signals, and with nothing lost.
//!
//! All of it happens with the map of eventfds locked for writing, so that register writes come before or after. Detaching a
//! last holder's eventfd, which takes KVM longest, does not.

use std::sync::Arc;

use vm_msix::{RouteEvent, VectorIndex};

use crate::error::KvmError;
use crate::eventfd::Notifier;
use crate::function::Function;
use crate::irqfd::{Enlist, IrqfdVector, State};

impl Function {
    /// One holder more of a vector's descriptor, who may bring it. The vector's latch in memory does not notice.
    pub(crate) fn join(
        &self,
        vector: VectorIndex,
        brought: Option<Notifier>,
    ) -> Result<Arc<IrqfdVector>, KvmError> {
        let mut irqfds = self.irqfds_mut();
        let (irqfd, brought) = match irqfds.get(vector) {
            Some(irqfd) => (Arc::clone(irqfd), brought),
            None => {
                let notifier = brought.map_or_else(Notifier::new, Ok)?;
                (Arc::new(IrqfdVector::new(vector, notifier)), None)
            }
        };
        let mut state = irqfd.lock();
        let enlist = match brought {
            Some(notifier) => self.exchange(&mut state, notifier)?,
            None if state.holders == 0 && state.is_nobodys() => self.enter(&mut state)?,
            None => Enlist::No,
        };
        let (route, is_queued) = (state.route, state.is_queued());
        state.holders += 1;
        drop(state);
        irqfds.insert(vector, Arc::clone(&irqfd));
        self.note_count(&irqfds);
        drop(irqfds);

        self.committer.enqueue(self.opening(&irqfd, enlist).into_iter().collect());
        let mut state = irqfd.lock();
        // Whoever commits at once knows at once. Where others have the descriptor too, it is a failure like any other.
        if is_queued
            && state.holders == 1
            && let Some(error) = self.late.take_failure(vector)
        {
            state.route = route;
            drop(state);
            self.leave(&irqfd);
            return Err(error);
        }
        drop(state);
        Ok(irqfd)
    }

    /// One holder less; after the last one, the vector is in signal mode. If KVM does not let go of the eventfd, it stays,
    /// without a holder, until the vector's next change of route.
    pub(crate) fn leave(&self, irqfd: &Arc<IrqfdVector>) {
        let mut state = irqfd.lock();
        state.holders -= 1;
        if state.holders > 0 {
            return;
        }
        if let Err(error) = state.withdraw(self) {
            self.late.extend(vec![(state.vector, RouteEvent::StillOpen(error))]);
            return;
        }
        drop(state);
        self.forget_unheld(irqfd);
    }

    /// Takes an eventfd off the map that has no holder and is nobody's.
    pub(crate) fn forget_unheld(&self, irqfd: &Arc<IrqfdVector>) {
        let mut irqfds = self.irqfds_mut();
        let mut state = irqfd.lock();
        // It may have been joined again.
        if state.holders > 0 || !state.is_nobodys() {
            return;
        }
        let gsi = state.take_gsi();
        irqfds.remove(state.vector);
        self.note_count(&irqfds);
        drop(state);
        drop(irqfds);
        // A table may take its time, and a vCPU that masks must not wait for it.
        self.give_back(gsi);
    }

    /// Lets two vectors exchange their eventfds. What waits in one is its old vector's; what comes is its new one's.
    pub(crate) fn swap(&self, a: VectorIndex, b: VectorIndex) -> Result<(), KvmError> {
        if a == b {
            return Ok(());
        }
        let mut irqfds = self.irqfds_mut();
        let pair = [a, b].map(|vector| irqfds.remove(vector));
        let withdrawn = pair.iter().flatten().try_for_each(|irqfd| irqfd.lock().withdraw(self));
        let places = if withdrawn.is_ok() { [b, a] } else { [a, b] };
        let mut openings = Vec::new();
        for (irqfd, vector) in pair.into_iter().zip(places) {
            let Some(irqfd) = irqfd else { continue };
            let enlist = irqfd.lock().move_to(self, vector);
            openings.extend(self.opening(&irqfd, enlist));
            irqfds.insert(vector, irqfd);
        }
        drop(irqfds);
        self.committer.enqueue(openings);
        withdrawn
    }

    /// Lets a first holder's eventfd into its vector.
    fn enter(&self, state: &mut State) -> Result<Enlist, KvmError> {
        state.join(self).inspect_err(|_| self.give_back(state.take_gsi()))
    }

    /// Puts another eventfd in the place of a vector's.
    fn exchange(&self, state: &mut State, notifier: Notifier) -> Result<Enlist, KvmError> {
        state.expect_to_join(self)?;
        state.withdraw(self)?;
        state.notifier = Arc::new(notifier);
        Ok(state.join_or_close(self))
    }
}
