//! An observer that keeps what it is told.

use std::error::Error;
use std::sync::Mutex;

use vm_msix::{Direction, IllegalAccess, MsixObserver, Region, Route, Signal, VectorIndex};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Signalled(u16, Signal),
    SignalFailed(u16, String),
    Delivered(u16),
    Retracted(u16),
    RouteChanged(u16, Route),
    RouteFailed(u16, String),
    Illegal(Region, Direction, u64, usize),
}

#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<Vec<Event>>);

impl Events {
    /// The events since this was last asked.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn note(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl MsixObserver for Events {
    fn signalled(&self, vector: VectorIndex, signal: Signal) {
        self.note(Event::Signalled(vector.get(), signal));
    }

    fn signal_failed(&self, vector: VectorIndex, error: &dyn Error) {
        self.note(Event::SignalFailed(vector.get(), error.to_string()));
    }

    fn delivered(&self, vector: VectorIndex) {
        self.note(Event::Delivered(vector.get()));
    }

    fn retracted(&self, vector: VectorIndex) {
        self.note(Event::Retracted(vector.get()));
    }

    fn route_changed(&self, vector: VectorIndex, route: Route) {
        self.note(Event::RouteChanged(vector.get(), route));
    }

    fn route_failed(&self, vector: VectorIndex, error: &dyn Error) {
        self.note(Event::RouteFailed(vector.get(), error.to_string()));
    }

    fn illegal_access(&self, access: IllegalAccess) {
        let IllegalAccess { region, direction, offset, len } = access;
        self.note(Event::Illegal(region, direction, offset, len));
    }
}
