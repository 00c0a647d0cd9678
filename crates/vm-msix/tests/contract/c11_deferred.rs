//! C11 on a backend that defers: what fails in the end is heard by the flush that waited for it.

use std::sync::Mutex;

use crate::support::guest::{
    NONE, bring_up, function, mask, message, open, pending, program_all, unsynced,
};
use crate::support::observing::{Event, Events};
use vm_msix::test_utils::{Failure, MockBackend, MockError};
use vm_msix::{MsiBackend, MsixError, Route, RouteEvent, Signal, VectorCount, VectorIndex};

/// The mock, whose routes come into force when it is flushed, or fail then.
struct Deferring {
    mock: MockBackend,
    fail_at_flush: Mutex<Vec<(u16, Failure)>>,
}

impl Deferring {
    fn new(vectors: u16) -> Self {
        Self { mock: MockBackend::new(vectors).unwrap(), fail_at_flush: Mutex::default() }
    }

    fn fail_at_flush(&self, vector: u16, failure: Failure) {
        self.fail_at_flush.lock().unwrap().push((vector, failure));
    }
}

impl MsiBackend for Deferring {
    type Error = MockError;

    fn vectors(&self) -> VectorCount {
        self.mock.vectors()
    }

    fn set_routes(
        &self,
        changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<MockError>),
    ) {
        self.mock.set_routes(changes, report);
    }

    fn late_events(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<MockError>)) {
        self.mock.late_events(report);
    }

    fn flush(&self) {
        for (vector, failure) in self.fail_at_flush.lock().unwrap().drain(..) {
            self.mock.fail_late(vector, failure);
        }
    }

    fn signal(&self, vector: VectorIndex) -> Result<Signal, MockError> {
        self.mock.signal(vector)
    }

    fn latched(&self, qword: usize) -> u64 {
        self.mock.latched(qword)
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        self.mock.clear_latch(vector)
    }

    fn clear_latches(&self, cleared: &mut dyn FnMut(VectorIndex)) {
        self.mock.clear_latches(cleared);
    }

    fn release(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<Self::Error>)) {
        self.mock.release(report);
    }
}

#[test]
fn c11_flush_hears_what_failed_while_it_waited() {
    for failure in [Failure::Refused, Failure::Exhausted, Failure::StillOpen] {
        let backend = Deferring::new(3);
        let mut msix = function(3, &backend).with_observer(Events::default());
        bring_up(&mut msix);
        backend.fail_at_flush(1, failure);
        assert_eq!(unsynced(&msix), NONE, "nobody knows yet");
        msix.observer().take();
        let error = msix.flush().unwrap_err();
        assert!(matches!(error, MsixError::Unsynced { vectors: 1, first } if first.get() == 1));
        assert_eq!(msix.observer().take(), [Event::RouteFailed(1, "told to fail".into())]);
        assert_eq!(unsynced(&msix), [1]);
    }
}

#[test]
fn c11_flush_tries_again_before_it_waits_and_once_only() {
    let backend = Deferring::new(2);
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    backend.mock.take_batches();
    backend.fail_at_flush(1, Failure::Exhausted);
    msix.flush().unwrap_err();
    assert_eq!(backend.mock.take_batches(), [] as [Vec<_>; 0]);
    backend.fail_at_flush(1, Failure::Exhausted);
    msix.flush().unwrap_err();
    assert_eq!(backend.mock.take_batches(), [[open(1)]]);
    msix.flush().unwrap();
    assert_eq!(backend.mock.take_batches(), [[open(1)]]);
}

#[test]
fn c11_what_came_between_a_deferred_failure_and_its_report_is_latched() {
    let backend = Deferring::new(2);
    let mut msix = function(2, &backend);
    program_all(&mut msix);
    mask(&mut msix, 0);
    msix.write_msix_capability(3, &[0x80]);
    backend.mock.fail_late(1, Failure::Exhausted);
    assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
    assert!(pending(&msix, 1));
    msix.flush().unwrap();
    assert_eq!(backend.mock.take_sent(), [(1, message(1))]);
}
