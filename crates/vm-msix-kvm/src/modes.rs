//! Into irqfd mode and out of it, and eventfds that change their vectors: while the device signals, and with nothing lost.
//!
//! All of it happens with the map of eventfds locked for writing, so that register writes come before or after. Detaching a
//! last holder's eventfd, which takes KVM longest, does not.

use std::sync::Arc;

use vm_msix::{Route, RouteEvent, VectorIndex};

use crate::committer::Gathered;
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
    ) -> Result<Joined, KvmError> {
        let entered = self.enter(vector, brought)?;
        let Entered { irqfd, enlist, is_queued, .. } = &entered;
        if !is_queued {
            return Ok((entered.irqfd, entered.notifier));
        }
        let irqfd = Arc::clone(irqfd);
        Gathered::of(self).push(&irqfd, *enlist);
        let mut state = irqfd.lock();
        // Whoever commits at once knows at once. Where it went well, a failure is of something before.
        let failure = if state.is_nobodys() { self.late.take_failure(vector) } else { None };
        let Some(error) = failure else {
            return Ok((entered.irqfd, entered.notifier));
        };
        let enlist = entered.undo(self, &mut state);
        drop(state);
        Gathered::of(self).push(&irqfd, enlist);
        self.forget_unheld(&irqfd);
        Err(error)
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
        // It may have been joined again; or forgotten by another, and its vector have a new one.
        let is_there = irqfds.get(state.vector).is_some_and(|there| Arc::ptr_eq(there, irqfd));
        if state.holders > 0 || !state.is_nobodys() || !is_there {
            return;
        }
        let gsi = state.take_gsi();
        irqfds.remove(state.vector);
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
        let mut gathered = Gathered::of(self);
        let mut irqfds = self.irqfds_mut();
        let pair = [a, b].map(|vector| irqfds.get(vector).cloned());
        let withdrawn = pair.iter().flatten().try_for_each(|irqfd| irqfd.lock().withdraw(self));
        if withdrawn.is_ok() {
            irqfds.remove(a);
            irqfds.remove(b);
            for (irqfd, vector) in pair.iter().zip([b, a]) {
                let Some(irqfd) = irqfd else { continue };
                irqfd.lock().move_to(self, vector);
                irqfds.insert(vector, Arc::clone(irqfd));
            }
        }
        for irqfd in pair.iter().flatten() {
            gathered.push(irqfd, irqfd.lock().attach_withdrawn(self));
        }
        drop(irqfds);
        // KVM may have let go of one now that it had kept.
        pair.iter().flatten().for_each(|irqfd| self.forget_unheld(irqfd));
        withdrawn
    }

    /// The part of a join that register writes must not see halves of.
    fn enter(&self, vector: VectorIndex, brought: Option<Notifier>) -> Result<Entered, KvmError> {
        let mut irqfds = self.irqfds_mut();
        let (irqfd, brought) = match irqfds.get(vector) {
            Some(irqfd) => (Arc::clone(irqfd), brought),
            None => {
                let notifier = brought.map_or_else(Notifier::new, Ok)?;
                (Arc::new(IrqfdVector::new(vector, notifier)), None)
            }
        };
        let mut state = irqfd.lock();
        let before = (self.signals.route(vector), Arc::clone(&state.notifier));
        let enlist = match brought {
            Some(notifier) => self.exchange(&mut state, notifier),
            None if state.holders == 0 && state.is_nobodys() => state.attach_as_is(self),
            None => Ok(Enlist::No),
        };
        let enlist = match enlist {
            Ok(enlist) => enlist,
            Err(error) => {
                let gsi = if state.holders == 0 { state.take_gsi() } else { None };
                drop(state);
                drop(irqfds);
                self.give_back(gsi);
                return Err(error);
            }
        };
        state.holders += 1;
        let (notifier, is_queued) = (Arc::clone(&state.notifier), state.is_queued());
        drop(state);
        irqfds.insert(vector, Arc::clone(&irqfd));
        Ok(Entered { irqfd, notifier, before, enlist, is_queued })
    }

    /// Puts another eventfd in the place of a vector's.
    fn exchange(&self, state: &mut State, notifier: Notifier) -> Result<Enlist, KvmError> {
        state.expect_to_attach(self)?;
        state.withdraw(self)?;
        state.replace_notifier(Arc::new(notifier));
        Ok(state.attach_or_close(self))
    }
}

/// A vector's eventfd, and the notifier that it had for whoever joined.
pub(crate) type Joined = (Arc<IrqfdVector>, Arc<Notifier>);

/// A join that the map knows of, and the committer does not yet.
struct Entered {
    irqfd: Arc<IrqfdVector>,
    notifier: Arc<Notifier>,
    /// The latch's route, and the vector's notifier.
    before: (Route, Arc<Notifier>),
    enlist: Enlist,
    is_queued: bool,
}

impl Entered {
    /// Makes the vector what it was, after a commit that failed at once.
    fn undo(self, function: &Function, state: &mut State) -> Enlist {
        let (route, notifier) = self.before;
        state.holders -= 1;
        // Somebody else may have brought another meanwhile.
        if !state.is_nobodys() || !Arc::ptr_eq(&state.notifier, &self.notifier) {
            return Enlist::No;
        }
        state.replace_notifier(notifier);
        state.reopen_latch(function, route);
        if state.holders > 0 { state.attach_or_close(function) } else { Enlist::No }
    }
}
