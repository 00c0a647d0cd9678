//! One function's vectors: the latches of all, and the eventfds of those that have a descriptor.

use std::sync::{Arc, PoisonError, Weak};

use vm_msix::{MsiBackend, Route, RouteEvent, Signal, SignalBackend, VectorIndex};

use crate::committer::{Committer, Gathered};
use crate::delivery::Delivery;
use crate::error::KvmError;
use crate::irqfd::Counter;
use crate::irqfds::Irqfds;
use crate::late::{Events, LateEvents};
use crate::mass_close::close_many;
use crate::route_table::Gsi;
use crate::sys::{Futex, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// So many counters are looked at by one system call.
const SAMPLED: usize = 64;

/// What a function's backend is a handle of.
pub(crate) struct Function {
    this: Weak<Self>,
    pub(crate) signals: SignalBackend<Delivery, Futex>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) late: LateEvents,
    irqfds: RwLock<Irqfds>,
}

impl Function {
    pub(crate) fn new(
        signals: SignalBackend<Delivery, Futex>,
        committer: Arc<Committer>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            signals,
            committer,
            late: LateEvents::default(),
            irqfds: RwLock::default(),
        })
    }

    pub(crate) fn this(&self) -> Weak<Self> {
        self.this.clone()
    }

    pub(crate) fn delivery(&self) -> &Delivery {
        self.signals.sender()
    }

    /// Register writes of a function without any look no further. Whoever finds that the last one went finds what it left in
    /// its vector's latch: it went with the map locked.
    pub(crate) fn has_irqfds(&self) -> bool {
        !self.irqfds().is_empty()
    }

    // A map is whole whoever panicked, here and below.
    pub(crate) fn irqfds(&self) -> RwLockReadGuard<'_, Irqfds> {
        self.irqfds.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn irqfds_mut(&self) -> RwLockWriteGuard<'_, Irqfds> {
        self.irqfds.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The latches in memory. A vector's latch is opened and closed with the lock of its eventfd held, if it has one.
impl Function {
    /// Of a function without eventfds.
    #[inline]
    pub(crate) fn set_latches(
        &self,
        changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<KvmError>),
    ) {
        if self.late.has_any() {
            changes.iter().for_each(|(vector, _)| self.late.forget(*vector));
        }
        self.signals.set_routes(changes, report);
    }

    /// Of a function without eventfds.
    pub(crate) fn release_latches(
        &self,
        report: &mut dyn FnMut(VectorIndex, RouteEvent<KvmError>),
    ) {
        if self.late.has_any() {
            self.signals.vectors().indices().for_each(|vector| self.late.forget(vector));
        }
        self.signals.release(report);
    }

    pub(crate) fn set_latch(&self, vector: VectorIndex, route: Route, events: &mut Events) {
        self.signals
            .set_routes(&[(vector, route)], &mut |vector, event| events.push((vector, event)));
    }

    pub(crate) fn close_latch(&self, vector: VectorIndex) {
        self.signals.set_routes(&[(vector, Route::Closed)], &mut |_, _| {});
    }

    pub(crate) fn signal(&self, vector: VectorIndex) -> Result<Signal, KvmError> {
        self.signals.signal(vector)
    }
}

/// The control path.
impl Function {
    /// Gives vectors these routes; what must be committed first is queued, and goes together.
    pub(crate) fn set_routes(&self, changes: &[(VectorIndex, Route)]) -> Events {
        let mut events = Events::new();
        let mut gathered = Gathered::of(self);
        let mut unheld = Vec::new();
        let irqfds = self.irqfds();
        close_many(self, &irqfds, changes);
        for group in changes.chunks(SAMPLED) {
            let counters = counters_before(&irqfds, group);
            for (&(vector, route), counter) in group.iter().zip(counters) {
                let Some(irqfd) = irqfds.get(vector) else {
                    self.late.forget(vector);
                    self.set_latch(vector, route, &mut events);
                    continue;
                };
                let mut state = irqfd.lock();
                let enlist = state.set_route(self, route, counter, &mut events);
                gathered.push(irqfd, enlist);
                if state.holders == 0 {
                    unheld.push(Arc::clone(irqfd));
                }
            }
        }
        drop(irqfds);
        unheld.iter().for_each(|irqfd| self.forget_unheld(irqfd));
        drop(gathered);
        events
    }

    /// Takes back what the latches and counters of all vectors keep. Tells whose there was something.
    pub(crate) fn clear_latches(&self) -> Vec<VectorIndex> {
        let vectors: Vec<_> = self.signals.vectors().indices().collect();
        let irqfds = self.irqfds();
        let mut cleared = Vec::new();
        for group in vectors.chunks(SAMPLED) {
            for (&vector, counter) in group.iter().zip(irqfds.counters(group.iter().copied())) {
                // The counter first: what it keeps may move to the latch meanwhile.
                let counted = counter == Counter::Unknown
                    && irqfds.get(vector).is_some_and(|irqfd| irqfd.lock().take_kept());
                if self.signals.clear_latch(vector) | counted {
                    cleared.push(vector);
                }
            }
        }
        cleared
    }

    /// Translates the routes of descriptors anew.
    pub(crate) fn translate_again(&self) {
        let mut gathered = Gathered::of(self);
        let irqfds = self.irqfds();
        for irqfd in irqfds.iter() {
            gathered.push(irqfd, irqfd.lock().translate_again(self));
        }
    }

    /// Closes every vector and gives every GSI back.
    pub(crate) fn release(&self, vectors: impl Iterator<Item = VectorIndex>) -> Events {
        let closed: Vec<_> = vectors.map(|vector| (vector, Route::Closed)).collect();
        let events = self.set_routes(&closed);
        // An irqfd that could not be detached keeps its GSI: a route must not vanish under it.
        let gsis: Vec<_> =
            self.irqfds().iter().filter_map(|irqfd| irqfd.lock().take_gsi()).collect();
        self.give_back(gsis);
        events
    }

    pub(crate) fn give_back(&self, gsis: impl IntoIterator<Item = Gsi>) {
        self.committer.give_back(gsis.into_iter().collect());
    }
}

/// What is known of the counters of vectors that are about to open. Those that close keep what they have.
fn counters_before(irqfds: &Irqfds, changes: &[(VectorIndex, Route)]) -> Vec<Counter> {
    if changes.iter().all(|(_, route)| *route == Route::Closed) {
        return vec![Counter::Unknown; changes.len()];
    }
    irqfds.counters(changes.iter().map(|(vector, _)| *vector))
}
