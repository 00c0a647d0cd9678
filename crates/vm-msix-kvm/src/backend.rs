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

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_msix::{
    IntoBackend, IrqfdBackend, MsiBackend, Route, RouteEvent, Signal, SignalBackend, SignalMode,
    VectorCount, VectorIndex,
};

use crate::delivery::{Delivery, LostMessages, Target};
use crate::error::KvmError;
use crate::eventfd::{Notifier, sample};
use crate::futex::Futex;
use crate::guard::Irqfd;
use crate::irqfd::{Aim, IrqfdVector};
use crate::route_table::{Gsi, MsiRoute, RouteTable};

/// Delivers a function's vectors through KVM. Made from a [`KvmMsi`](crate::KvmMsi); clones are the same
/// backend.
#[derive(Clone)]
pub struct KvmBackend {
    shared: Arc<Shared>,
}

struct Shared {
    signals: SignalBackend<Delivery, Futex>,
    table: Arc<dyn RouteTable>,
    control: Mutex<Control>,
}

/// What only the control path touches.
#[derive(Debug, Default)]
struct Control {
    /// The vectors in irqfd mode.
    irqfds: BTreeMap<VectorIndex, IrqfdVector>,
    /// What happened while nobody was there to be told.
    late: BTreeMap<VectorIndex, RouteEvent<KvmError>>,
}

/// What happened to vectors, to be told when no lock is held.
type Events = Vec<(VectorIndex, RouteEvent<KvmError>)>;

impl KvmBackend {
    pub(crate) fn new(
        vectors: VectorCount,
        delivery: Delivery,
        table: Arc<dyn RouteTable>,
    ) -> Self {
        let Ok(signals) = SignalMode::new(delivery).with_relax(Futex).into_backend(vectors);
        Self { shared: Arc::new(Shared { signals, table, control: Mutex::default() }) }
    }

    /// Messages that reached nobody, so far.
    pub fn lost_messages(&self) -> LostMessages {
        self.delivery().losses.get()
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
            .map(|(&vector, irqfd)| (vector, irqfd, self.signals().route(vector)))
            .filter(|(_, irqfd, route)| match route {
                Route::Open(message) => {
                    !self.delivery().target(*message).is_ok_and(|target| irqfd.leads_to(target))
                }
                Route::Closed => false,
            })
            .map(|(vector, _, route)| (vector, route))
            .collect();
        let events = self.apply(&mut control, &stale);
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
        let gsi = self.demote(&mut control, vector).unwrap_or_else(|error| {
            control.late.insert(vector, RouteEvent::StillOpen(error));
            None
        });
        // A table may take its time, and a vCPU that masks must not wait for it.
        drop(control);
        self.give_back(gsi);
    }

    fn give_back(&self, gsis: impl IntoIterator<Item = Gsi>) {
        let gsis: Vec<_> = gsis.into_iter().collect();
        if !gsis.is_empty() {
            self.table().release(&gsis);
        }
    }

    fn signals(&self) -> &SignalBackend<Delivery, Futex> {
        &self.shared.signals
    }

    fn delivery(&self) -> &Delivery {
        self.signals().sender()
    }

    fn table(&self) -> &dyn RouteTable {
        &*self.shared.table
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        // A thread that panicked here left each vector whole: they are changed one by one.
        self.shared.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives vectors these routes. Those with an eventfd are closed altogether first, and their eventfds attached again with
    /// one commit of the routing table; then the latches open, and where one does not, its eventfd is detached: a
    /// vector is open for everybody or for nobody.
    fn apply(&self, control: &mut Control, changes: &[(VectorIndex, Route)]) -> Events {
        for (vector, _) in changes {
            control.late.remove(vector);
        }
        let mut events = Events::new();
        if control.irqfds.is_empty() {
            self.set_latches(changes, &mut events);
            return events;
        }
        let mut routes = changes.to_vec();
        self.close_irqfds(control, &mut routes, &mut events);
        self.attach(control, &mut routes, &mut events);
        let mut outcomes = Events::new();
        self.set_latches(&routes, &mut outcomes);
        for (vector, outcome) in outcomes {
            let detached = match outcome {
                RouteEvent::Delivered => Ok(()),
                _ => self.detach(control, vector),
            };
            events.push((vector, detached.map_or_else(RouteEvent::StillOpen, |()| outcome)));
        }
        events
    }

    fn set_latches(&self, routes: &[(VectorIndex, Route)], events: &mut Events) {
        self.signals().set_routes(routes, &mut |vector, event| events.push((vector, event)));
    }

    /// Closes both latches of the vectors with an eventfd. Those that KVM does not let go of stay closed as far as
    /// can be.
    fn close_irqfds(
        &self,
        control: &mut Control,
        routes: &mut [(VectorIndex, Route)],
        events: &mut Events,
    ) {
        for (vector, route) in routes {
            if !control.irqfds.contains_key(vector) {
                continue;
            }
            self.set_latches(&[(*vector, Route::Closed)], events);
            match self.detach(control, *vector) {
                Ok(()) => self.remove_if_abandoned(control, *vector),
                Err(error) => {
                    events.push((*vector, RouteEvent::StillOpen(error)));
                    *route = Route::Closed;
                }
            }
        }
    }

    /// Finishes what KVM did not allow when the last holder went.
    fn remove_if_abandoned(&self, control: &mut Control, vector: VectorIndex) {
        if control.irqfds.get(&vector).is_some_and(|irqfd| irqfd.holders == 0)
            && let Ok(gsi) = self.demote(control, vector)
        {
            self.give_back(gsi);
        }
    }

    fn detach(&self, control: &mut Control, vector: VectorIndex) -> Result<(), KvmError> {
        match control.irqfds.get_mut(&vector) {
            Some(irqfd) => irqfd.detach(self.delivery()),
            None => Ok(()),
        }
    }

    /// Attaches the eventfds, if they have one, of vectors that are to open. Those that fail are to be closed
    /// instead.
    fn attach(
        &self,
        control: &mut Control,
        routes: &mut [(VectorIndex, Route)],
        events: &mut Events,
    ) {
        let mut aims = Vec::new();
        let mut failed = BTreeMap::new();
        for &mut (vector, route) in &mut *routes {
            match self.aim(control, vector, route) {
                Ok(aim) => aims.extend(aim),
                Err(error) => {
                    failed.insert(vector, error);
                }
            }
        }
        let mut refused = if aims.is_empty() { BTreeMap::new() } else { self.commit(&aims) };
        for Aim { vector, gsi, translated } in aims {
            let Some(irqfd) = control.irqfds.get_mut(&vector) else {
                continue;
            };
            let attached = match refused.remove(&gsi) {
                Some(error) => Err(error),
                None => irqfd.attach(&self.delivery().vm, gsi, translated),
            };
            if let Err(error) = attached {
                failed.insert(vector, error);
            }
        }
        for (vector, route) in routes {
            if let Some(error) = failed.remove(vector) {
                events.push((*vector, failure(error)));
                *route = Route::Closed;
            }
        }
    }

    /// What an opening vector with an eventfd needs from the routing table; `None` if nothing, or if there is no
    /// eventfd. What is in the counter goes to the latch, where it collapses with what is there.
    fn aim(
        &self,
        control: &mut Control,
        vector: VectorIndex,
        route: Route,
    ) -> Result<Option<Aim>, KvmError> {
        let (Route::Open(message), Some(irqfd)) = (route, control.irqfds.get_mut(&vector)) else {
            return Ok(None);
        };
        self.move_to_latch(vector, irqfd);
        match self.delivery().target(message)? {
            Target::Apic(translated) => {
                let gsi = irqfd.gsi(self.table())?;
                Ok(Some(Aim { vector, gsi, translated }))
            }
            target => {
                irqfd.lead_elsewhere(target);
                Ok(None)
            }
        }
    }

    /// One commit for all; returns what was refused.
    fn commit(&self, aims: &[Aim]) -> BTreeMap<Gsi, KvmError> {
        let requester = self.delivery().requester;
        let route = |aim: &Aim| (aim.gsi, MsiRoute { message: aim.translated, requester });
        let routes: Vec<_> = aims.iter().map(route).collect();
        let mut refused = BTreeMap::new();
        self.table().set(&routes, &mut |gsi, error| {
            refused.insert(gsi, error);
        });
        refused
    }

    /// Puts a vector into irqfd mode, with one holder. Its latch in memory does not notice.
    fn promote(
        &self,
        control: &mut Control,
        vector: VectorIndex,
    ) -> Result<Arc<Notifier>, KvmError> {
        let irqfd = IrqfdVector::new(self.table())?;
        let notifier = Arc::clone(&irqfd.notifier);
        control.irqfds.insert(vector, irqfd);
        let mut failed = Events::new();
        self.attach(control, &mut [(vector, self.signals().route(vector))], &mut failed);
        match failed.into_iter().find_map(|(_, event)| event.into_error()) {
            None => Ok(notifier),
            Some(error) => {
                let gsi = self.demote(control, vector)?;
                self.give_back(gsi);
                Err(error)
            }
        }
    }

    /// Puts a vector back into signal mode; what waits in its counter goes to its latch. Returns the GSI to give
    /// back. If KVM does not let go of the eventfd, it stays, without a holder.
    fn demote(&self, control: &mut Control, vector: VectorIndex) -> Result<Option<Gsi>, KvmError> {
        let Some(irqfd) = control.irqfds.get_mut(&vector) else {
            return Ok(None);
        };
        irqfd.detach(self.delivery())?;
        self.move_to_latch(vector, irqfd);
        let gsi = irqfd.take_gsi();
        control.irqfds.remove(&vector);
        Ok(gsi)
    }

    /// Moves what a detached eventfd keeps to the latch, where it collapses with what is there.
    fn move_to_latch(&self, vector: VectorIndex, irqfd: &IrqfdVector) {
        if irqfd.notifier.drain() {
            // On a closed latch this cannot fail. An open one has nothing here to be moved, but for a producer
            // that has outlived its guard.
            let _ = self.signals().signal(vector);
        }
    }
}

impl MsiBackend for KvmBackend {
    type Error = KvmError;

    fn vectors(&self) -> VectorCount {
        self.signals().vectors()
    }

    fn set_routes(
        &self,
        changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<KvmError>),
    ) {
        let events = self.apply(&mut self.control(), changes);
        events.into_iter().for_each(|(vector, event)| report(vector, event));
    }

    fn late_events(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<KvmError>)) {
        let late = std::mem::take(&mut self.control().late);
        late.into_iter().for_each(|(vector, event)| report(vector, event));
    }

    fn flush(&self) {}

    #[inline]
    fn signal(&self, vector: VectorIndex) -> Result<Signal, KvmError> {
        self.signals().signal(vector)
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
        self.signals().latched(qword) | counted
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        let control = self.control();
        let counted = control
            .irqfds
            .get(&vector)
            .is_some_and(|irqfd| irqfd.keeps() && irqfd.notifier.drain());
        self.signals().clear_latch(vector) | counted
    }

    fn release(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<KvmError>)) {
        let mut control = self.control();
        let closed = |vector| (vector, Route::Closed);
        let closed: Vec<_> = self.vectors().indices().map(closed).collect();
        let events = self.apply(&mut control, &closed);
        // An irqfd that could not be detached keeps its GSI: a route must not vanish under it.
        let gsis: Vec<_> = control.irqfds.values_mut().filter_map(IrqfdVector::take_gsi).collect();
        drop(control);
        self.give_back(gsis);
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
            None => self.promote(&mut control, vector)?,
        };
        drop(control);
        Ok(Irqfd::new(self.clone(), vector, notifier))
    }
}

/// What the core makes of a failure: never again with this message, or another time.
fn failure(error: KvmError) -> RouteEvent<KvmError> {
    if error.is_refusal() { RouteEvent::Refused(error) } else { RouteEvent::Exhausted(error) }
}

impl fmt::Debug for KvmBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvmBackend")
            .field("vectors", &self.vectors())
            .field("delivery", self.delivery())
            .finish_non_exhaustive()
    }
}
