//! The backend: signal mode for every vector, and an eventfd for those whose descriptor somebody asked for.
//!
//! # Signal mode
//!
//! The core's [`SignalBackend`] with `KVM_SIGNAL_MSI` as its send. Nothing is registered with KVM.
//!
//! # irqfd mode
//!
//! A vector with a descriptor has two latches: the one in memory for triggers of this process, which go on as
//! before, and the eventfd's counter for whoever writes it. Closed, KVM does not know the eventfd, and the counter
//! keeps what comes. When the vector opens, what is in the counter is moved to the latch in memory, so that the
//! two collapse to one signal; KVM is told of the eventfd; the latch opens, and sends.
//!
//! Triggers do not go through the eventfd: its flags belong to everybody who has the descriptor, and somebody
//! who makes it blocking and fills its counter would hold the thread that triggers.
//!
//! # The order of ioctls
//!
//! Opening: route, then assign. Closing: deassign, and the route stays. Releasing: deassign, then the route goes.
//!
//! # Locks
//!
//! `control` serialises everything but triggers, and is held over ioctls; under it comes the route table's
//! own lock. A trigger takes neither, and nobody is told anything while they are held.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_msix::{
    IntoBackend, IrqfdBackend, MsiBackend, Route, RouteEvent, Signal, SignalMode, VectorCount,
    VectorIndex,
};

use crate::control::Control;
use crate::delivery::{Delivery, LostMessages};
use crate::error::KvmError;
use crate::eventfd::sample;
use crate::futex::Futex;
use crate::guard::Irqfd;
use crate::host::Host;
use crate::irqfd::IrqfdVector;
use crate::route_table::RouteTable;

/// Delivers a function's vectors through KVM. Made from a [`KvmMsi`](crate::KvmMsi); clones are the same
/// backend.
#[derive(Clone)]
pub struct KvmBackend {
    shared: Arc<Shared>,
}

struct Shared {
    host: Host,
    control: Mutex<Control>,
}

impl KvmBackend {
    pub(crate) fn new(
        vectors: VectorCount,
        delivery: Delivery,
        table: Arc<dyn RouteTable>,
    ) -> Self {
        let Ok(signals) = SignalMode::new(delivery).with_relax(Futex).into_backend(vectors);
        let host = Host { signals, table };
        Self { shared: Arc::new(Shared { host, control: Mutex::default() }) }
    }

    /// Messages that reached nobody, so far.
    pub fn lost_messages(&self) -> LostMessages {
        self.host().delivery().losses.get()
    }

    /// Translates the routes of descriptors anew, after the [`Translate`](crate::Translate) of this function has
    /// come to another mind. Triggers of open vectors need no telling: each is translated when it is sent.
    ///
    /// Hold no lock that `translate` takes. What fails is reported by the next register write.
    pub fn invalidate_translations(&self) {
        let mut control = self.control();
        let stale: Vec<_> = control
            .irqfds
            .iter()
            .map(|(&vector, irqfd)| (vector, irqfd, self.host().signals.route(vector)))
            .filter(|(_, irqfd, route)| match route {
                Route::Open(message) => !self
                    .host()
                    .delivery()
                    .target(*message)
                    .is_ok_and(|target| irqfd.leads_to(target)),
                Route::Closed => false,
            })
            .map(|(vector, _, route)| (vector, route))
            .collect();
        let events = control.apply(self.host(), &stale);
        control.late.extend(events);
    }

    /// One holder of a vector's descriptor less; after the last one, the vector is in signal mode.
    pub(crate) fn put_irqfd(&self, vector: VectorIndex) {
        let mut control = self.control();
        let Some(irqfd) = control.irqfds.get_mut(&vector) else {
            return;
        };
        irqfd.holders -= 1;
        if irqfd.holders > 0 {
            return;
        }
        let gsi = control.demote(self.host(), vector).unwrap_or_else(|error| {
            control.late.insert(vector, RouteEvent::StillOpen(error));
            None
        });
        // A table may take its time, and a vCPU that masks must not wait for it.
        drop(control);
        self.host().give_back(gsi);
    }

    fn host(&self) -> &Host {
        &self.shared.host
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        // A thread that panicked here left each vector whole: they are changed one by one.
        self.shared.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MsiBackend for KvmBackend {
    type Error = KvmError;

    fn vectors(&self) -> VectorCount {
        self.host().signals.vectors()
    }

    fn set_routes(
        &self,
        changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<KvmError>),
    ) {
        let events = self.control().apply(self.host(), changes);
        events.into_iter().for_each(|(vector, event)| report(vector, event));
    }

    fn late_events(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<KvmError>)) {
        let late = std::mem::take(&mut self.control().late);
        late.into_iter().for_each(|(vector, event)| report(vector, event));
    }

    fn flush(&self) {}

    #[inline]
    fn signal(&self, vector: VectorIndex) -> Result<Signal, KvmError> {
        self.host().signals.signal(vector)
    }

    fn latched(&self, qword: usize) -> u64 {
        let control = self.control();
        let mut vectors = self.vectors().in_qword(qword);
        let Some(first) = vectors.next() else {
            return 0;
        };
        let (bits, notifiers): (Vec<_>, Vec<_>) = control
            .irqfds
            .range(first..=vectors.next_back().unwrap_or(first))
            .filter(|(_, irqfd)| irqfd.keeps())
            .map(|(vector, irqfd)| (1_u64 << (vector.get() % 64), &*irqfd.notifier))
            .unzip();
        let sampled = bits.into_iter().zip(sample(&notifiers));
        let counted = sampled.filter(|&(_, set)| set).fold(0, |bits, (bit, _)| bits | bit);
        self.host().signals.latched(qword) | counted
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        let control = self.control();
        let counted = control
            .irqfds
            .get(&vector)
            .is_some_and(|irqfd| irqfd.keeps() && irqfd.notifier.drain());
        self.host().signals.clear_latch(vector) | counted
    }

    fn release(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<KvmError>)) {
        let mut control = self.control();
        let closed = |vector| (vector, Route::Closed);
        let closed: Vec<_> = self.vectors().indices().map(closed).collect();
        let events = control.apply(self.host(), &closed);
        // An irqfd that could not be detached keeps its GSI: a route must not vanish under it.
        let gsis: Vec<_> = control.irqfds.values_mut().filter_map(IrqfdVector::take_gsi).collect();
        drop(control);
        self.host().give_back(gsis);
        events.into_iter().for_each(|(vector, event)| report(vector, event));
    }
}

impl IrqfdBackend for KvmBackend {
    type Irqfd = Irqfd;

    fn irqfd(&self, vector: VectorIndex) -> Result<Irqfd, KvmError> {
        let mut control = self.control();
        let notifier = match control.irqfds.get_mut(&vector) {
            Some(irqfd) => {
                irqfd.holders += 1;
                Arc::clone(&irqfd.notifier)
            }
            None => control.promote(self.host(), vector)?,
        };
        drop(control);
        Ok(Irqfd::new(self.clone(), vector, notifier))
    }
}

impl fmt::Debug for KvmBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvmBackend")
            .field("vectors", &self.vectors())
            .field("delivery", self.host().delivery())
            .finish_non_exhaustive()
    }
}
