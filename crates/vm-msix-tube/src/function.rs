//! A function of a device process: what the backend shares with those who hold its descriptors, and the control path.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};

use vm_msix::{MsiBackend, Route, RouteEvent, SignalBackend, VectorIndex};

use crate::error::TubeError;
use crate::eventfds::{Eventfd, Eventfds};
use crate::link::{Link, is_unsent};
use crate::sys::{Mutex, MutexGuard, Yield};
use crate::tube::Tube;
use crate::wire::{Change, VectorFailure, WireRoute};

/// Its latches, and its end of the tube.
pub(crate) struct Function {
    pub(crate) tube: Arc<Tube>,
    pub(crate) signals: SignalBackend<Eventfds, Yield>,
    pub(crate) control: Mutex<Control>,
}

/// What the control path knows.
pub(crate) struct Control {
    pub(crate) link: Link,
    /// By vector: whether the VMM has its eventfd.
    pub(crate) brought: Box<[bool]>,
    /// What became of vectors when they changed eventfds: the next late events tell.
    pub(crate) late: Vec<(VectorIndex, RouteEvent<TubeError>)>,
}

impl Function {
    // Every step leaves it whole.
    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn eventfds(&self) -> &Eventfds {
        self.signals.sender()
    }

    pub(crate) fn is_open(&self, vector: VectorIndex) -> bool {
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
    pub(crate) fn move_to_latches(&self, vectors: impl Iterator<Item = VectorIndex>) {
        for vector in self.eventfds().counted(vectors) {
            if self.eventfds().get(vector).is_some_and(|eventfd| eventfd.drain()) {
                self.latch(vector);
            }
        }
    }

    /// The eventfd of a vector, which has one from now on.
    pub(crate) fn eventfd(&self, vector: VectorIndex) -> Result<Arc<Eventfd>, TubeError> {
        if let Some(eventfd) = self.eventfds().get(vector) {
            return Ok(eventfd);
        }
        let eventfd = Arc::new(Eventfd::new()?);
        self.eventfds().set(vector, Some(Arc::clone(&eventfd)));
        Ok(eventfd)
    }
}

pub(crate) type Report<'a> = &'a mut dyn FnMut(VectorIndex, RouteEvent<TubeError>);

/// The control path: with its lock held, and so one at a time.
impl Function {
    /// Closes what closes, and what opens to another message; then opens.
    pub(crate) fn set_routes(
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
    pub(crate) fn note_answers(&self, control: &mut Control) {
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

    /// Reports what became of vectors meanwhile; closes what could not be opened after all, and reports it.
    pub(crate) fn hear_late_events(&self, control: &mut Control, report: Report<'_>) {
        for (vector, event) in std::mem::take(&mut control.late) {
            report(vector, event);
        }
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

    pub(crate) fn swap(
        &self,
        control: &mut Control,
        a: VectorIndex,
        b: VectorIndex,
    ) -> Result<(), TubeError> {
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
            self.reopen_latch(control, vector, route);
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
    pub(crate) fn adopt(
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
        }
        match &brought {
            Err(error) if !is_unsent(error) => {
                control.brought[vector.as_usize()] = false;
                self.reopen(control, vector, route);
            }
            // Done; or the VMM has not heard of it, and has what it had.
            _ => self.reopen_latch(control, vector, route),
        }
        brought
    }

    /// Opens a vector again that could not be changed. It may be open, or not, at the VMM. Where that fails it stays closed.
    fn reopen(&self, control: &mut Control, vector: VectorIndex, route: Route) {
        if route == Route::Closed {
            return;
        }
        let mut late = Vec::new();
        match self.close(control, vec![vector]).remove(&vector) {
            Some(error) => late.push((vector, RouteEvent::StillOpen(error))),
            None => self.open(control, vec![(vector, route)], &mut |vector, event| {
                late.push((vector, event));
            }),
        }
        control.late.extend(late);
    }

    /// Gives a latch its route back, and remembers what came of that.
    fn reopen_latch(&self, control: &mut Control, vector: VectorIndex, route: Route) {
        self.set_latch(vector, route, &mut |vector, event| {
            control.late.push((vector, event));
        });
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
        TubeError::Call { call, source } => {
            let errno = source.raw_os_error();
            let source = errno.map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
            TubeError::Call { call, source }
        }
        _ => TubeError::Disconnected,
    }
}
