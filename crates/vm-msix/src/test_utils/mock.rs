//! A backend without a hypervisor, written plainly: one mutex, no latch of this crate.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use crate::{MsiBackend, MsiMessage, Route, RouteEvent, Signal, VectorCount, VectorIndex};

/// Delivers into a list, keeps every batch it is handed, and fails as it is told to. Share it as
/// `Arc<MockBackend>`, or lend it.
///
/// ```
/// use vm_msix::test_utils::{Failure, GuestDriver, MockBackend};
/// use vm_msix::{MsiMessage, MsixConfig};
///
/// let backend = MockBackend::new(4)?;
/// let mut msix = MsixConfig::new(4, &backend, 0, "test")?;
/// let mut driver = GuestDriver::new(&mut msix);
/// backend.fail_next_open(2, Failure::Refused);
/// driver.bring_up(&[MsiMessage::new(0xfee0_0000, 0x30); 4]);
/// assert_eq!(msix.unsynced().map(|vector| vector.get()).collect::<Vec<_>>(), [2]);
/// # Ok::<(), vm_msix::MsixError>(())
/// ```
#[derive(Debug)]
pub struct MockBackend {
    vectors: VectorCount,
    state: Mutex<State>,
}

/// How a change of route fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// As [`RouteEvent::Refused`].
    Refused,
    /// As [`RouteEvent::Exhausted`].
    Exhausted,
    /// As [`RouteEvent::StillOpen`].
    StillOpen,
}

/// What the mock says when it fails as told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("told to fail")]
pub struct MockError;

#[derive(Debug)]
struct State {
    vectors: Vec<MockVector>,
    batches: Vec<Vec<(VectorIndex, Route)>>,
    sent: Vec<(VectorIndex, MsiMessage)>,
    late: VecDeque<(VectorIndex, Failure)>,
    failing_sends: usize,
    releases: usize,
}

#[derive(Clone, Debug)]
struct MockVector {
    route: Route,
    latched: bool,
    failing_opens: VecDeque<Failure>,
    failing_closes: usize,
}

impl Failure {
    fn event(self) -> RouteEvent<MockError> {
        match self {
            Self::Refused => RouteEvent::Refused(MockError),
            Self::Exhausted => RouteEvent::Exhausted(MockError),
            Self::StillOpen => RouteEvent::StillOpen(MockError),
        }
    }
}

impl MockBackend {
    /// A backend for so many vectors.
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorCount`](crate::MsixError::VectorCount).
    pub fn new(vectors: u16) -> Result<Self, crate::MsixError> {
        let vectors = VectorCount::new(vectors)?;
        let vector = MockVector {
            route: Route::Closed,
            latched: false,
            failing_opens: VecDeque::new(),
            failing_closes: 0,
        };
        let state = State {
            vectors: std::vec![vector; vectors.as_usize()],
            batches: Vec::new(),
            sent: Vec::new(),
            late: VecDeque::new(),
            failing_sends: 0,
            releases: 0,
        };
        Ok(Self { vectors, state: Mutex::new(state) })
    }

    /// Lets the next opening of a vector fail in this way; once more for each call.
    pub fn fail_next_open(&self, vector: u16, failure: Failure) {
        self.with(vector, |vector| vector.failing_opens.push_back(failure));
    }

    /// Lets the next closing of a vector fail; once more for each call.
    pub fn fail_next_close(&self, vector: u16) {
        self.with(vector, |vector| vector.failing_closes += 1);
    }

    /// Lets an open vector fail after the fact, as a deferred commit does: it closes now, and the next
    /// sync hears of it.
    pub fn fail_late(&self, vector: u16, failure: Failure) {
        self.with(vector, |vector| vector.route = Route::Closed);
        if let Some(vector) = VectorIndex::new(vector) {
            self.lock().late.push_back((vector, failure));
        }
    }

    /// Lets the next so many sends fail.
    pub fn fail_next_sends(&self, sends: usize) {
        self.lock().failing_sends = sends;
    }

    /// The messages sent since this was last asked, in order.
    pub fn take_sent(&self) -> Vec<(u16, MsiMessage)> {
        let sent = core::mem::take(&mut self.lock().sent);
        sent.into_iter().map(|(vector, message)| (vector.get(), message)).collect()
    }

    /// The batches of routes handed over since this was last asked, in order.
    pub fn take_batches(&self) -> Vec<Vec<(u16, Route)>> {
        let batches = core::mem::take(&mut self.lock().batches);
        let plain = |(vector, route): (VectorIndex, Route)| (vector.get(), route);
        batches.into_iter().map(|batch| batch.into_iter().map(plain).collect()).collect()
    }

    /// The route that a vector has; closed for one that is not there.
    pub fn route(&self, vector: u16) -> Route {
        self.lock().vectors.get(usize::from(vector)).map_or(Route::Closed, |vector| vector.route)
    }

    /// How often everything was released.
    pub fn releases(&self) -> usize {
        self.lock().releases
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, vector: u16, change: impl FnOnce(&mut MockVector)) {
        if let Some(vector) = self.lock().vectors.get_mut(usize::from(vector)) {
            change(vector);
        }
    }
}

impl State {
    fn send(&mut self, vector: VectorIndex, message: MsiMessage) -> Result<(), MockError> {
        if self.failing_sends > 0 {
            self.failing_sends -= 1;
            return Err(MockError);
        }
        self.sent.push((vector, message));
        Ok(())
    }

    fn close(&mut self, vector: VectorIndex) -> Option<RouteEvent<MockError>> {
        let slot = self.vectors.get_mut(vector.as_usize())?;
        if slot.failing_closes > 0 {
            slot.failing_closes -= 1;
            return Some(RouteEvent::StillOpen(MockError));
        }
        slot.route = Route::Closed;
        None
    }

    fn open(&mut self, vector: VectorIndex, message: MsiMessage) -> Option<RouteEvent<MockError>> {
        let slot = self.vectors.get_mut(vector.as_usize())?;
        if let Some(failure) = slot.failing_opens.pop_front() {
            if failure != Failure::StillOpen {
                slot.route = Route::Closed;
            }
            return Some(failure.event());
        }
        slot.route = Route::Open(message);
        if !core::mem::take(&mut slot.latched) {
            return None;
        }
        Some(match self.send(vector, message) {
            Ok(()) => RouteEvent::Delivered,
            Err(error) => {
                let slot = self.vectors.get_mut(vector.as_usize())?;
                (slot.route, slot.latched) = (Route::Closed, true);
                RouteEvent::Exhausted(error)
            }
        })
    }
}

impl MsiBackend for MockBackend {
    type Error = MockError;

    fn vectors(&self) -> VectorCount {
        self.vectors
    }

    fn set_routes(
        &self,
        changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<MockError>),
    ) {
        let mut state = self.lock();
        state.batches.push(changes.to_vec());
        for &(vector, route) in changes {
            let event = match route {
                Route::Closed => state.close(vector),
                Route::Open(message) => state.open(vector, message),
            };
            if let Some(event) = event {
                report(vector, event);
            }
        }
    }

    fn late_events(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<MockError>)) {
        for (vector, failure) in core::mem::take(&mut self.lock().late) {
            report(vector, failure.event());
        }
    }

    fn flush(&self) {}

    fn signal(&self, vector: VectorIndex) -> Result<Signal, MockError> {
        let mut state = self.lock();
        let Some(slot) = state.vectors.get_mut(vector.as_usize()) else {
            return Ok(Signal::Collapsed);
        };
        match slot.route {
            Route::Open(message) => state.send(vector, message).map(|()| Signal::Sent),
            Route::Closed if core::mem::replace(&mut slot.latched, true) => Ok(Signal::Collapsed),
            Route::Closed => Ok(Signal::Latched),
        }
    }

    fn latched(&self, qword: usize) -> u64 {
        let state = self.lock();
        let latched = |vector: VectorIndex| {
            state.vectors.get(vector.as_usize()).is_some_and(|vector| vector.latched)
        };
        self.vectors
            .in_qword(qword)
            .rev()
            .fold(0, |bits, vector| bits << 1 | u64::from(latched(vector)))
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        let mut state = self.lock();
        state
            .vectors
            .get_mut(vector.as_usize())
            .is_some_and(|vector| core::mem::take(&mut vector.latched))
    }

    fn clear_latches(&self, cleared: &mut dyn FnMut(VectorIndex)) {
        self.vectors.indices().filter(|vector| self.clear_latch(*vector)).for_each(cleared);
    }

    fn release(&self, _report: &mut dyn FnMut(VectorIndex, RouteEvent<MockError>)) {
        let mut state = self.lock();
        state.releases += 1;
        for vector in &mut state.vectors {
            vector.route = Route::Closed;
        }
    }
}
