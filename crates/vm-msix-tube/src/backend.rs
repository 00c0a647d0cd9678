//! The device process's backend: latches in its memory, eventfds that the VMM listens to, and a tube to tell it of routes.
//!
//! A trigger takes no lock and never touches the socket: closed, it is latched in memory; open, it is one write to the vector's
//! eventfd. What the VMM does with a vector is the business of its own backend, which is told of routes only.
//!
//! # Opening
//!
//! The request is posted, with the eventfd if the VMM has not got it; then the latch opens. What is written before the VMM
//! is done waits in the eventfd. If it cannot be done, the latch closes again, and takes back what waits.
//!
//! # Closing
//!
//! The latch closes, which waits for the writes in flight; then the VMM is asked, and waited for: when it answers, no interrupt of
//! the vector comes any more (C4). If a signal was still on its way there, the answer says so, and the latch has it again.
//!
//! # Locks
//!
//! One, for the control path. A trigger and a look at Pending Bits take none.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_msix::{
    IntoBackend, IrqfdBackend, MsiBackend, Route, RouteEvent, Signal, SignalBackend, SignalMode,
    VectorCount, VectorIndex, Yield,
};

use crate::error::TubeError;
use crate::eventfds::{Eventfd, Eventfds};
use crate::link::{Link, Traffic};
use crate::tube::Tube;
use crate::wire::{Change, VectorFailure, WireRoute};

/// Delivers a function's vectors through the VMM at the other end of a [`Tube`].
pub struct TubeBackend {
    shared: Arc<Shared>,
}

/// What the backend shares with those who hold its descriptors.
struct Shared {
    tube: Arc<Tube>,
    signals: SignalBackend<Eventfds, Yield>,
    control: Mutex<Control>,
}

/// What the control path knows.
struct Control {
    link: Link,
    /// By vector: whether the VMM has its eventfd.
    brought: Box<[bool]>,
}

/// The eventfd of a vector of a device process: every write to it is a signal.
///
/// Hand it to whoever produces interrupts, and keep this for as long as they live.
pub struct TubeIrqfd {
    shared: Arc<Shared>,
    eventfd: Arc<Eventfd>,
}

impl IntoBackend for Tube {
    type Backend = TubeBackend;
    type Error = TubeError;

    /// Greets the VMM, and waits to be welcome.
    fn into_backend(self, vectors: VectorCount) -> Result<TubeBackend, TubeError> {
        let tube = Arc::new(self);
        let link = Link::greet(Arc::clone(&tube), vectors)?;
        let mode = SignalMode::new(Eventfds::new(vectors)).with_relax(Yield);
        let Ok(signals) = mode.into_backend(vectors);
        let brought = vectors.indices().map(|_| false).collect();
        let control = Mutex::new(Control { link, brought });
        Ok(TubeBackend { shared: Arc::new(Shared { tube, signals, control }) })
    }
}

impl TubeBackend {
    /// What went through the tube so far.
    pub fn traffic(&self) -> Traffic {
        self.shared.control().link.traffic()
    }
}

impl Shared {
    // Every step leaves it whole.
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn eventfds(&self) -> &Eventfds {
        self.signals.sender()
    }

    fn is_open(&self, vector: VectorIndex) -> bool {
        self.signals.route(vector) != Route::Closed
    }

    fn set_latch(&self, vector: VectorIndex, route: Route, report: Report<'_>) {
        self.signals.set_routes(&[(vector, route)], report);
    }

    fn close_latch(&self, vector: VectorIndex) {
        self.set_latch(vector, Route::Closed, &mut |_, _| {});
    }

    /// A closed vector has a signal.
    fn latch(&self, vector: VectorIndex) {
        // A closed latch sends nothing that could fail.
        let _ = self.signals.signal(vector);
    }

    /// Moves what the counters of closed vectors keep to their latches, where it collapses with what is there.
    fn move_to_latches(&self, vectors: impl Iterator<Item = VectorIndex>) {
        for vector in self.eventfds().counted(vectors) {
            if self.eventfds().get(vector).is_some_and(|eventfd| eventfd.drain()) {
                self.latch(vector);
            }
        }
    }

    /// The eventfd of a vector, which has one from now on.
    fn eventfd(&self, vector: VectorIndex) -> Result<Arc<Eventfd>, TubeError> {
        if let Some(eventfd) = self.eventfds().get(vector) {
            return Ok(eventfd);
        }
        let eventfd = Arc::new(Eventfd::new()?);
        self.eventfds().set(vector, Some(Arc::clone(&eventfd)));
        Ok(eventfd)
    }
}

type Report<'a> = &'a mut dyn FnMut(VectorIndex, RouteEvent<TubeError>);

/// The control path: with its lock held, and so one at a time.
impl Shared {
    /// Closes what closes, and what opens to another message; then opens.
    fn set_routes(
        &self,
        control: &mut Control,
        changes: &[(VectorIndex, Route)],
        report: Report<'_>,
    ) {
        let is_open = |route: Route| route != Route::Closed;
        let closing = changes
            .iter()
            .filter(|&&(vector, route)| !is_open(route) || self.is_open(vector))
            .map(|(vector, _)| *vector);
        let stuck = self.close(control, closing.collect());
        let opening = changes
            .iter()
            .filter(|(vector, route)| is_open(*route) && !stuck.contains_key(vector))
            .copied();
        self.open(control, opening.collect(), report);
        for (vector, error) in stuck {
            report(vector, RouteEvent::StillOpen(error));
        }
    }

    /// Closes vectors. When it returns, no interrupt of theirs comes any more, except of those that it returns.
    fn close(
        &self,
        control: &mut Control,
        mut closing: Vec<VectorIndex>,
    ) -> BTreeMap<VectorIndex, TubeError> {
        if closing.is_empty() {
            return BTreeMap::new();
        }
        closing.sort();
        closing.iter().for_each(|vector| self.close_latch(*vector));
        let change = |vector: &VectorIndex| Change {
            vector: vector.get(),
            route: WireRoute::Closed,
            brings: false,
        };
        let changes = closing.iter().map(change).collect();
        let asked = control.link.set_routes(changes, &[]);
        self.note_answers(control);
        for vector in &closing {
            // What the VMM never had, or has no more, nobody else takes out.
            if asked.is_err() || !control.brought[vector.as_usize()] {
                self.take_back(*vector);
            }
        }
        let mut outcome = |vector: VectorIndex| match &asked {
            Ok(()) => Some(TubeError::Vector(control.link.take_failure(vector)?)),
            // Where nobody is, nothing is open.
            Err(TubeError::Disconnected | TubeError::Refused(_)) => None,
            Err(error) => Some(again(error)),
        };
        closing.into_iter().filter_map(|vector| Some((vector, outcome(vector)?))).collect()
    }

    /// Opens closed vectors, which need not be waited for.
    fn open(
        &self,
        control: &mut Control,
        mut opening: Vec<(VectorIndex, Route)>,
        report: Report<'_>,
    ) {
        opening.sort_by_key(|(vector, _)| *vector);
        self.move_to_latches(opening.iter().map(|(vector, _)| *vector));
        let mut changes = Vec::new();
        let mut brought = Vec::new();
        opening.retain(|&(vector, route)| {
            let brings = !control.brought[vector.as_usize()];
            match if brings { self.eventfd(vector).map(Some) } else { Ok(None) } {
                Ok(eventfd) => brought.extend(eventfd),
                Err(error) => {
                    report(vector, RouteEvent::Exhausted(error));
                    return false;
                }
            }
            changes.push(Change { vector: vector.get(), route: route.into(), brings });
            true
        });
        if opening.is_empty() {
            return;
        }
        let descriptors: Vec<_> = brought.iter().map(|eventfd| eventfd.as_fd()).collect();
        let posted = control.link.post(changes, &descriptors);
        for (vector, route) in opening {
            match &posted {
                Ok(()) => {
                    control.brought[vector.as_usize()] = true;
                    self.set_latch(vector, route, report);
                }
                Err(error) => report(vector, RouteEvent::Exhausted(again(error))),
            }
        }
    }

    /// Lets the VMM have the eventfd of a vector, which has this route.
    fn bring(
        &self,
        control: &mut Control,
        vector: VectorIndex,
        route: Route,
    ) -> Result<(), TubeError> {
        let eventfd = self.eventfd(vector)?;
        let change = Change { vector: vector.get(), route: route.into(), brings: true };
        let asked = control.link.set_routes(vec![change], &[eventfd.as_fd()]);
        self.note_answers(control);
        asked?;
        if let Some(failure) = control.link.take_failure(vector) {
            return Err(TubeError::Vector(failure));
        }
        control.brought[vector.as_usize()] = true;
        Ok(())
    }

    /// Latches what the VMM kept of closed vectors, and forgets whose eventfds it may not have.
    fn note_answers(&self, control: &mut Control) {
        control.link.take_kept().into_iter().for_each(|vector| self.latch(vector));
        for vector in control.link.take_unsure() {
            control.brought[vector.as_usize()] = false;
        }
    }

    /// What was written for a vector that did not open comes back to its latch.
    fn take_back(&self, vector: VectorIndex) {
        if self.eventfds().get(vector).is_some_and(|eventfd| eventfd.drain()) {
            self.latch(vector);
        }
    }

    /// Closes what could not be opened after all, and reports it.
    fn hear_late_events(&self, control: &mut Control, report: Report<'_>) {
        if control.link.hear().is_err() || control.link.is_over() {
            return self.end(control, report);
        }
        self.note_answers(control);
        let failures = control.link.take_failures();
        let stuck = self.close(control, failures.keys().copied().collect());
        for (vector, failure) in failures {
            control.brought[vector.as_usize()] = false;
            self.take_back(vector);
            let is_stuck = stuck.contains_key(&vector);
            report(vector, event(if is_stuck { VectorFailure::StillOpen } else { failure }));
        }
    }

    /// The connection is over: the VMM has closed everything, and what is signalled from now on is latched.
    fn end(&self, control: &mut Control, report: Report<'_>) {
        control.brought.fill(false);
        for vector in self.signals.vectors().indices().filter(|vector| self.is_open(*vector)) {
            self.close_latch(vector);
            self.take_back(vector);
            report(vector, RouteEvent::Exhausted(TubeError::Disconnected));
        }
    }

    fn swap(&self, control: &mut Control, a: VectorIndex, b: VectorIndex) -> Result<(), TubeError> {
        self.expect_settled(control, &[a, b])?;
        for vector in [a, b] {
            if !control.brought[vector.as_usize()] {
                self.bring(control, vector, self.signals.route(vector))?;
            }
        }
        let routes = [a, b].map(|vector| (vector, self.signals.route(vector)));
        let closed = routes.iter().filter(|(_, route)| *route == Route::Closed);
        self.move_to_latches(closed.map(|(vector, _)| *vector));
        routes.iter().for_each(|(vector, _)| self.close_latch(*vector));
        let swapped = control.link.swap(a, b);
        self.note_answers(control);
        if swapped.is_ok() {
            let (of_a, of_b) = (self.eventfds().get(a), self.eventfds().get(b));
            self.eventfds().set(a, of_b);
            self.eventfds().set(b, of_a);
        }
        for (vector, route) in routes {
            self.set_latch(vector, route, &mut |_, _| {});
        }
        swapped
    }

    /// The VMM has the routes and the eventfds of these vectors that they have here; late events tell of those that it has not.
    fn expect_settled(
        &self,
        control: &mut Control,
        vectors: &[VectorIndex],
    ) -> Result<(), TubeError> {
        control.link.settle()?;
        self.note_answers(control);
        let failure = vectors.iter().find_map(|vector| control.link.failure(*vector));
        failure.map_or(Ok(()), |failure| Err(TubeError::Vector(failure)))
    }

    /// Puts a vector on another eventfd.
    fn adopt(
        &self,
        control: &mut Control,
        vector: VectorIndex,
        eventfd: &Arc<Eventfd>,
    ) -> Result<(), TubeError> {
        self.expect_settled(control, &[vector])?;
        let before = self.eventfds().get(vector);
        let route = self.signals.route(vector);
        self.close_latch(vector);
        if route == Route::Closed {
            self.move_to_latches([vector].into_iter());
        }
        self.eventfds().set(vector, Some(Arc::clone(eventfd)));
        let brought = self.bring(control, vector, route);
        if brought.is_err() {
            self.eventfds().set(vector, before);
            control.brought[vector.as_usize()] = false;
            return brought.inspect_err(|_| self.reopen(control, vector, route));
        }
        self.set_latch(vector, route, &mut |_, _| {});
        brought
    }

    /// Opens a vector again that could not be changed. It may be open, or not, at the VMM.
    fn reopen(&self, control: &mut Control, vector: VectorIndex, route: Route) {
        if route == Route::Closed {
            return;
        }
        let stuck = self.close(control, vec![vector]);
        let mut failed = !stuck.is_empty();
        if !failed {
            self.open(control, vec![(vector, route)], &mut |_, _| failed = true);
        }
        if failed {
            // The connection is over, as late events tell of what is open here.
            self.set_latch(vector, route, &mut |_, _| {});
        }
    }
}

fn event(failure: VectorFailure) -> RouteEvent<TubeError> {
    let error = TubeError::Vector(failure);
    match failure {
        VectorFailure::Refused => RouteEvent::Refused(error),
        VectorFailure::Exhausted => RouteEvent::Exhausted(error),
        VectorFailure::StillOpen => RouteEvent::StillOpen(error),
    }
}

/// The same for another vector.
fn again(error: &TubeError) -> TubeError {
    match error {
        TubeError::TimedOut => TubeError::TimedOut,
        TubeError::Refused(refusal) => TubeError::Refused(*refusal),
        _ => TubeError::Disconnected,
    }
}

impl MsiBackend for TubeBackend {
    type Error = TubeError;

    fn vectors(&self) -> VectorCount {
        self.shared.signals.vectors()
    }

    fn set_routes(&self, changes: &[(VectorIndex, Route)], report: Report<'_>) {
        self.shared.set_routes(&mut self.shared.control(), changes, report);
    }

    fn late_events(&self, report: Report<'_>) {
        self.shared.hear_late_events(&mut self.shared.control(), report);
    }

    fn flush(&self) {
        // What fails is a late event.
        let _ = self.shared.control().link.flush();
    }

    #[inline]
    fn signal(&self, vector: VectorIndex) -> Result<Signal, TubeError> {
        match self.shared.signals.signal(vector)? {
            Signal::Sent => Ok(Signal::HandedOver),
            kept => Ok(kept),
        }
    }

    fn latched(&self, qword: usize) -> u64 {
        let Shared { signals, .. } = &*self.shared;
        let closed =
            signals.vectors().in_qword(qword).filter(|vector| !self.shared.is_open(*vector));
        let counted = self.shared.eventfds().counted(closed);
        counted.fold(signals.latched(qword), |bits, vector| bits | 1 << (vector.get() % 64))
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        let counted = !self.shared.is_open(vector)
            && self.shared.eventfds().counted([vector].into_iter()).next().is_some()
            && self.shared.eventfds().get(vector).is_some_and(|eventfd| eventfd.drain());
        self.shared.signals.clear_latch(vector) | counted
    }

    fn clear_latches(&self, cleared: &mut dyn FnMut(VectorIndex)) {
        self.vectors().indices().filter(|vector| self.clear_latch(*vector)).for_each(cleared);
    }

    fn release(&self, report: Report<'_>) {
        let mut control = self.shared.control();
        self.shared.signals.release(report);
        control.brought.fill(false);
        // Where nobody answers, everything has been given back.
        let _ = control.link.release();
        self.shared.eventfds().drop_unheld();
    }
}

impl IrqfdBackend for TubeBackend {
    type Irqfd = TubeIrqfd;

    fn irqfd(&self, vector: VectorIndex) -> Result<TubeIrqfd, TubeError> {
        let _control = self.shared.control();
        let eventfd = self.shared.eventfd(vector)?;
        eventfd.hold();
        Ok(TubeIrqfd { shared: Arc::clone(&self.shared), eventfd })
    }

    fn adopt_irqfd(&self, vector: VectorIndex, eventfd: OwnedFd) -> Result<TubeIrqfd, TubeError> {
        let eventfd = Arc::new(Eventfd::from(eventfd));
        let mut control = self.shared.control();
        self.shared.adopt(&mut control, vector, &eventfd)?;
        eventfd.hold();
        Ok(TubeIrqfd { shared: Arc::clone(&self.shared), eventfd })
    }

    fn swap_irqfds(&self, a: VectorIndex, b: VectorIndex) -> Result<(), TubeError> {
        if a == b { Ok(()) } else { self.shared.swap(&mut self.shared.control(), a, b) }
    }
}

impl AsRawFd for TubeBackend {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.tube.as_raw_fd()
    }
}

impl AsFd for TubeBackend {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.tube.as_fd()
    }
}

impl fmt::Debug for TubeBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TubeBackend")
            .field("vectors", &self.vectors())
            .field("tube", &self.shared.tube)
            .finish_non_exhaustive()
    }
}

impl AsFd for TubeIrqfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl AsRawFd for TubeIrqfd {
    fn as_raw_fd(&self) -> RawFd {
        self.eventfd.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for TubeIrqfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TubeIrqfd").field(&self.eventfd).finish()
    }
}

impl Drop for TubeIrqfd {
    /// What nobody writes any more keeps nothing: it moves to the latch.
    fn drop(&mut self) {
        let _control = self.shared.control();
        let vector = self.shared.eventfds().vector_of(&self.eventfd);
        if let Some(vector) = vector.filter(|vector| !self.shared.is_open(*vector)) {
            self.shared.move_to_latches([vector].into_iter());
        }
        self.eventfd.let_go();
    }
}
