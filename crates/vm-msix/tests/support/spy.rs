//! A backend that keeps the calls it gets, in order, and passes them on.

use std::sync::Mutex;

use vm_msix::{MsiBackend, Route, RouteEvent, Signal, VectorCount, VectorIndex};

/// A call of a backend that can have an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    SetRoutes(Vec<(u16, Route)>),
    LateEvents,
    Flush,
    Signal(u16),
    ClearLatch(u16),
    ClearLatches,
    Release,
}

#[derive(Debug)]
pub(crate) struct Spy<B> {
    inner: B,
    calls: Mutex<Vec<Call>>,
}

impl<B> Spy<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self { inner, calls: Mutex::default() }
    }

    pub(crate) fn inner(&self) -> &B {
        &self.inner
    }

    /// The calls since this was last asked.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }
}

impl<B: MsiBackend> MsiBackend for Spy<B> {
    type Error = B::Error;

    fn vectors(&self) -> VectorCount {
        self.inner.vectors()
    }

    fn set_routes(
        &self,
        changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<B::Error>),
    ) {
        let plain = changes.iter().map(|&(vector, route)| (vector.get(), route)).collect();
        self.note(Call::SetRoutes(plain));
        self.inner.set_routes(changes, report);
    }

    fn late_events(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<B::Error>)) {
        self.note(Call::LateEvents);
        self.inner.late_events(report);
    }

    fn flush(&self) {
        self.note(Call::Flush);
        self.inner.flush();
    }

    fn signal(&self, vector: VectorIndex) -> Result<Signal, B::Error> {
        self.note(Call::Signal(vector.get()));
        self.inner.signal(vector)
    }

    fn latched(&self, qword: usize) -> u64 {
        self.inner.latched(qword)
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        self.note(Call::ClearLatch(vector.get()));
        self.inner.clear_latch(vector)
    }

    fn clear_latches(&self, cleared: &mut dyn FnMut(VectorIndex)) {
        self.note(Call::ClearLatches);
        self.inner.clear_latches(cleared);
    }

    fn release(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<Self::Error>)) {
        self.note(Call::Release);
        self.inner.release(report);
    }
}
