//! The backend: signal mode for every vector, irqfd mode for those whose descriptor somebody asked for.
//!
//! # Signal mode
//!
//! The core's latch, and `KVM_SIGNAL_MSI` as the send. Nothing is registered with KVM.
//!
//! # irqfd mode
//!
//! The vector's eventfd is its latch, so that producers elsewhere obey the mask: closed, KVM does not know
//! the eventfd and its counter keeps the signal; open, KVM takes it. The core's latch stays in front of it,
//! open towards the eventfd: a trigger of this process goes in flight, writes the eventfd, and
//! counts down. That makes the change of mode one more use of the same state machine: close, let what is
//! in flight land, lead the latch elsewhere, open; what was latched meanwhile goes to the new place, once.
//!
//! # The order of ioctls
//!
//! Opening: route, then assign. Closing: deassign, and the route stays. Releasing: deassign, then the route goes.
//!
//! # Locks
//!
//! `control` serialises everything but triggers, and is held over ioctls; under it comes the route table's
//! own lock. A trigger takes neither.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_msix::latch::Opened;
use vm_msix::{
    IrqfdBackend, MsiBackend, MsiMessage, Route, RouteEvent, Signal, VectorCount, VectorIndex,
};

use crate::delivery::{Delivery, LostMessages, Target};
use crate::error::KvmError;
use crate::eventfd::{Notifier, sample};
use crate::guard::Irqfd;
use crate::irqfd::IrqfdVector;
use crate::route_table::{Gsi, MsiRoute, RouteTable};
use crate::trigger_path::TriggerPath;

/// Delivers a function's vectors through KVM. Made from a [`KvmMsi`](crate::KvmMsi); clones are the same
/// backend.
#[derive(Clone)]
pub struct KvmBackend {
    shared: Arc<Shared>,
}

struct Shared {
    path: TriggerPath,
    routes: Arc<dyn RouteTable>,
    control: Mutex<Control>,
}

/// What only the control path touches.
#[derive(Debug, Default)]
struct Control {
    /// The vectors in irqfd mode.
    irqfds: BTreeMap<VectorIndex, IrqfdVector>,
    /// What failed while nobody was there to be told.
    late: BTreeMap<VectorIndex, RouteEvent<KvmError>>,
}

/// What the end of irqfd mode leaves to do.
#[derive(Default)]
struct Demoted {
    /// To be given back.
    gsi: Option<Gsi>,
    /// What went wrong, or was delivered.
    event: Option<RouteEvent<KvmError>>,
}

/// Told what happened to a vector's route.
type Report<'a> = &'a mut dyn FnMut(VectorIndex, RouteEvent<KvmError>);

impl KvmBackend {
    pub(crate) fn new(
        vectors: VectorCount,
        delivery: Delivery,
        routes: Arc<dyn RouteTable>,
    ) -> Self {
        let path = TriggerPath::new(vectors, delivery);
        Self { shared: Arc::new(Shared { path, routes, control: Mutex::default() }) }
    }

    /// Messages that reached nobody, so far.
    pub fn lost_messages(&self) -> LostMessages {
        self.path().delivery().losses.get()
    }

    /// Translates the routes of descriptors anew, after the [`Translate`](crate::Translate) of this function has come to
    /// another mind. Signal mode asks it every time and needs no telling.
    pub fn invalidate_translations(&self) {
        let mut control = self.control();
        let stale: Vec<_> = control
            .irqfds
            .iter()
            .filter_map(|(&vector, irqfd)| match irqfd.route {
                Route::Open(message) => Some((vector, irqfd, message)),
                Route::Closed => None,
            })
            .filter(|(_, irqfd, message)| {
                !self.path().delivery().target(*message).is_ok_and(|now| irqfd.is_open_to(now))
            })
            .map(|(vector, _, message)| (vector, Route::Open(message)))
            .collect();
        let mut late = BTreeMap::new();
        self.apply(&mut control, &stale, &mut |vector, event| {
            late.insert(vector, event);
        });
        control.late.extend(late);
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
        let Demoted { gsi, event } = self.demote(&mut control, vector);
        control.late.extend(event.map(|event| (vector, event)));
        // Not under the lock: a vCPU that masks must not wait for a commit of the routing table.
        drop(control);
        self.give_back(gsi);
    }

    fn give_back(&self, gsi: Option<Gsi>) {
        if let Some(gsi) = gsi {
            self.shared.routes.release(&[gsi]);
        }
    }

    fn path(&self) -> &TriggerPath {
        &self.shared.path
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        // A thread that panicked here left each vector whole: they are changed one by one.
        self.shared.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives vectors these routes: all close that must, then all open that shall, with one commit of
    /// the routing table.
    fn apply(&self, control: &mut Control, changes: &[(VectorIndex, Route)], report: Report<'_>) {
        let mut opening = Vec::new();
        for &(vector, route) in changes {
            control.late.remove(&vector);
            let Some(irqfd) = control.irqfds.get_mut(&vector) else {
                self.set_signal_route(vector, route, report);
                continue;
            };
            match (irqfd.close(vector, self.path()), route) {
                (Err(error), _) => report(vector, RouteEvent::StillOpen(error)),
                (Ok(()), Route::Open(message)) => opening.push((vector, message)),
                (Ok(()), Route::Closed) => {}
            }
        }
        if !opening.is_empty() {
            self.open_irqfds(control, &opening, report);
        }
    }

    fn set_signal_route(&self, vector: VectorIndex, route: Route, report: Report<'_>) {
        let Route::Open(message) = route else {
            return self.path().close(vector);
        };
        let opened = match self.path().delivery().target(message) {
            Ok(_) => self.path().lead_to_message(vector, message),
            Err(error) => {
                self.path().close(vector);
                Err(error)
            }
        };
        match opened {
            Ok(Opened::Empty) => {}
            Ok(Opened::Delivered) => report(vector, RouteEvent::Delivered),
            Err(error) => report(vector, failure(error)),
        }
    }

    /// Opens closed vectors in irqfd mode; those that fail stay closed, and keep latching.
    fn open_irqfds(
        &self,
        control: &mut Control,
        opening: &[(VectorIndex, MsiMessage)],
        report: Report<'_>,
    ) {
        let mut aimed = Vec::with_capacity(opening.len());
        for &(vector, message) in opening {
            match self.aim(control, vector, message) {
                Ok(Some((gsi, translated))) => aimed.push((vector, message, gsi, translated)),
                Ok(None) => {}
                Err(error) => report(vector, failure(error)),
            }
        }
        let requester = self.path().delivery().requester;
        let routes: Vec<_> = aimed
            .iter()
            .map(|&(.., gsi, message)| (gsi, MsiRoute { message, requester }))
            .collect();
        let mut failed = BTreeMap::new();
        self.shared.routes.set(&routes, &mut |gsi, error| {
            failed.insert(gsi, error);
        });
        for (vector, message, gsi, translated) in aimed {
            let Some(irqfd) = control.irqfds.get_mut(&vector) else {
                continue;
            };
            let vm = &self.path().delivery().vm;
            let opened = match failed.remove(&gsi) {
                Some(error) => Err(error),
                None => irqfd.open_to_kvm(vm, gsi, translated, Route::Open(message)),
            };
            if let Err(error) = opened {
                report(vector, failure(error));
            }
        }
    }

    /// What a vector needs in order to open: a GSI and the message for its route; `None` if it
    /// leads to no APIC and is open already.
    fn aim(
        &self,
        control: &mut Control,
        vector: VectorIndex,
        message: MsiMessage,
    ) -> Result<Option<(Gsi, MsiMessage)>, KvmError> {
        let Some(irqfd) = control.irqfds.get_mut(&vector) else {
            return Ok(None);
        };
        match self.path().delivery().target(message)? {
            Target::Apic(translated) => Ok(Some((irqfd.gsi(&*self.shared.routes)?, translated))),
            target => {
                irqfd.open_elsewhere(vector, self.path(), target, message)?;
                Ok(None)
            }
        }
    }

    /// Puts a vector from signal mode into irqfd mode, with one holder.
    fn promote(
        &self,
        control: &mut Control,
        vector: VectorIndex,
    ) -> Result<Arc<Notifier>, KvmError> {
        let route = self.path().route(vector)?;
        let irqfd = IrqfdVector::new()?;
        let notifier = Arc::clone(&irqfd.notifier);
        self.path().lead_to_eventfd(vector, &notifier)?;
        control.irqfds.insert(vector, irqfd);
        let Route::Open(message) = route else {
            return Ok(notifier);
        };
        let mut failed = None;
        self.open_irqfds(control, &[(vector, message)], &mut |_, event| {
            failed = event.into_error()
        });
        match failed {
            None => Ok(notifier),
            Some(error) => {
                self.go_back(control, vector, route);
                Err(error)
            }
        }
    }

    /// Undoes a promotion, for a vector that had this route before it.
    fn go_back(&self, control: &mut Control, vector: VectorIndex, route: Route) {
        if let Some(irqfd) = control.irqfds.get_mut(&vector) {
            irqfd.route = route;
        }
        let Demoted { gsi, event } = self.demote(control, vector);
        control.late.extend(event.map(|event| (vector, event)));
        self.give_back(gsi);
    }

    /// Puts a vector back into signal mode, with the route that it has.
    fn demote(&self, control: &mut Control, vector: VectorIndex) -> Demoted {
        let Some(irqfd) = control.irqfds.get_mut(&vector) else {
            return Demoted::default();
        };
        if let Err(error) = irqfd.retire(vector, self.path()) {
            return Demoted { gsi: None, event: Some(RouteEvent::StillOpen(error)) };
        }
        let (gsi, route) = (irqfd.take_gsi(), irqfd.route);
        control.irqfds.remove(&vector);
        let mut event = None;
        if let Route::Open(_) = route {
            self.set_signal_route(vector, route, &mut |_, outcome| event = Some(outcome));
        }
        Demoted { gsi, event }
    }
}

impl MsiBackend for KvmBackend {
    type Error = KvmError;

    fn vectors(&self) -> VectorCount {
        self.path().vectors()
    }

    fn set_routes(&self, changes: &[(VectorIndex, Route)], report: Report<'_>) {
        self.apply(&mut self.control(), changes, report);
    }

    fn late_events(&self, report: Report<'_>) {
        for (vector, event) in std::mem::take(&mut self.control().late) {
            report(vector, event);
        }
    }

    fn flush(&self) {}

    #[inline]
    fn signal(&self, vector: VectorIndex) -> Result<Signal, KvmError> {
        self.path().signal(vector)
    }

    fn latched(&self, qword: usize) -> u64 {
        let control = self.control();
        let (bits, notifiers): (Vec<_>, Vec<_>) = self
            .vectors()
            .in_qword(qword)
            .filter_map(|vector| Some((vector, control.irqfds.get(&vector)?)))
            .filter(|(_, irqfd)| irqfd.is_latch())
            .map(|(vector, irqfd)| (1_u64 << (vector.get() % 64), &*irqfd.notifier))
            .unzip();
        let signalled = bits.into_iter().zip(sample(&notifiers));
        let counted = signalled.filter(|&(_, set)| set).fold(0, |bits, (bit, _)| bits | bit);
        self.path().latched(qword) | counted
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        let control = self.control();
        let counted = control
            .irqfds
            .get(&vector)
            .is_some_and(|irqfd| irqfd.is_latch() && irqfd.notifier.drain());
        self.path().clear(vector) | counted
    }

    fn release(&self) {
        let mut control = self.control();
        let closed: Vec<_> =
            self.vectors().indices().map(|vector| (vector, Route::Closed)).collect();
        // An irqfd that cannot be deassigned keeps its GSI: a route must not vanish under it.
        self.apply(&mut control, &closed, &mut |_, _| {});
        let gsis: Vec<_> = control.irqfds.values_mut().filter_map(IrqfdVector::take_gsi).collect();
        if !gsis.is_empty() {
            self.shared.routes.release(&gsis);
        }
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
            .field("delivery", self.path().delivery())
            .finish_non_exhaustive()
    }
}
