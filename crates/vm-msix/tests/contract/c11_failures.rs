//! C11: what a failure of the backend does to the vector, to the others, and to those who are told.

use crate::support::guest::{
    ENABLE, NONE, OFF, bring_up, control, function, mask, message, open, pending, program,
    program_all, table, unmask, unsynced,
};
use crate::support::observing::{Event, Events};
use vm_msix::test_utils::{Failure, MockBackend};
use vm_msix::{Counters, MsixConfig, MsixError, MsixStatus, Route, RouteEvent, Signal};

const ALL: [Failure; 3] = [Failure::Refused, Failure::Exhausted, Failure::StillOpen];
const CLOSING: [Failure; 2] = [Failure::Refused, Failure::Exhausted];

/// Three vectors of which vector 1 failed to open.
fn failed(backend: &MockBackend, failure: Failure) -> MsixConfig<&MockBackend> {
    let mut msix = function(3, backend);
    program_all(&mut msix);
    backend.fail_next_open(1, failure);
    assert_eq!(control(&mut msix, ENABLE), MsixStatus::Changed);
    msix
}

#[test]
fn c11_writes_return_their_status_whatever_the_backend_says() {
    for failure in ALL {
        let backend = MockBackend::new(3).unwrap();
        let mut msix = failed(&backend, failure);
        assert_eq!(mask(&mut msix, 1), MsixStatus::EntryChanged(1));
        backend.fail_next_open(1, failure);
        assert_eq!(unmask(&mut msix, 1), MsixStatus::EntryChanged(1));
        backend.fail_next_close(0);
        assert_eq!(mask(&mut msix, 0), MsixStatus::EntryChanged(0));
        assert_eq!(control(&mut msix, OFF), MsixStatus::Changed);
    }
}

#[test]
fn c11_an_event_has_an_error_unless_it_tells_of_a_delivery() {
    assert_eq!(RouteEvent::<u8>::Delivered.into_error(), None);
    for event in [RouteEvent::Refused(7), RouteEvent::Exhausted(7), RouteEvent::StillOpen(7)] {
        assert_eq!(event.into_error(), Some(7));
    }
}

#[test]
fn c11_the_registers_hold_what_was_written_whatever_the_backend_says() {
    for failure in ALL {
        let backend = MockBackend::new(3).unwrap();
        let msix = failed(&backend, failure);
        assert!(msix.enabled());
        assert!(!msix.table_masked(1));
        let mut other = function(3, MockBackend::new(3).unwrap());
        bring_up(&mut other);
        assert_eq!(table(&msix), table(&other));
    }
}

#[test]
fn c11_a_vector_that_failed_to_open_is_closed_and_keeps_latching() {
    for failure in CLOSING {
        let backend = MockBackend::new(3).unwrap();
        let mut msix = failed(&backend, failure);
        assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
        assert_eq!(msix.trigger(1).unwrap(), Signal::Collapsed);
        assert!(pending(&msix, 1));
        assert_eq!(backend.take_sent(), []);
        mask(&mut msix, 1);
        control(&mut msix, ENABLE);
        unmask(&mut msix, 1);
        assert_eq!(backend.take_sent(), [(1, message(1))], "{failure:?}");
        assert!(!pending(&msix, 1));
    }
}

#[test]
fn c11_the_good_vectors_of_the_batch_work() {
    for failure in ALL {
        let backend = MockBackend::new(3).unwrap();
        let msix = failed(&backend, failure);
        assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
        assert_eq!(msix.trigger(2).unwrap(), Signal::Sent);
        assert_eq!(backend.take_sent(), [(0, message(0)), (2, message(2))]);
    }
}

#[test]
fn c11_unsynced_lists_the_failed_vectors_and_no_others() {
    for failure in ALL {
        let backend = MockBackend::new(3).unwrap();
        let mut msix = failed(&backend, failure);
        assert_eq!(unsynced(&msix), [1]);
        // What is closed and shall be closed is synced, if it is known to be closed.
        mask(&mut msix, 1);
        assert_eq!(unsynced(&msix), NONE);
    }
}

#[test]
fn c11_the_errors_go_to_the_observer() {
    let told_to_fail = || String::from("told to fail");
    for failure in ALL {
        let backend = MockBackend::new(2).unwrap();
        let mut msix = function(2, &backend).with_observer(Events::default());
        program_all(&mut msix);
        msix.trigger(0).unwrap();
        msix.observer().take();
        backend.fail_next_open(1, failure);
        control(&mut msix, ENABLE);
        assert_eq!(
            msix.observer().take(),
            [
                Event::RouteChanged(0, open(0).1),
                Event::RouteChanged(1, open(1).1),
                Event::Delivered(0),
                Event::RouteFailed(1, told_to_fail()),
            ]
        );
        backend.fail_next_close(0);
        mask(&mut msix, 0);
        let events = msix.observer().take();
        let told = events.iter().position(|event| *event == Event::RouteChanged(0, Route::Closed));
        let failed =
            events.iter().position(|event| *event == Event::RouteFailed(0, told_to_fail()));
        assert!(told.is_some() && told < failed, "{events:?}");
        backend.fail_next_sends(1);
        unmask(&mut msix, 0);
        msix.observer().take();
        msix.trigger(0).unwrap_err();
        assert_eq!(msix.observer().take(), [Event::SignalFailed(0, told_to_fail())]);
    }
}

#[test]
fn c11_flush_is_ok_only_when_the_backend_equals_the_registers() {
    for failure in ALL {
        let backend = MockBackend::new(3).unwrap();
        let mut msix = failed(&backend, failure);
        // The try that a flush makes fails too; a refused message gets no try.
        backend.fail_next_open(1, failure);
        match msix.flush() {
            Err(MsixError::Unsynced { vectors: 1, first }) => assert_eq!(first.get(), 1),
            other => panic!("{other:?}"),
        }
        assert_eq!(unsynced(&msix), [1]);
        match (failure, msix.flush()) {
            (Failure::Refused, Err(MsixError::Unsynced { vectors: 1, .. })) => (),
            (Failure::Exhausted | Failure::StillOpen, Ok(())) => {
                assert_eq!(backend.route(1), open(1).1);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn c11_flush_counts_the_vectors_that_are_not_synced() {
    let backend = MockBackend::new(5).unwrap();
    let mut msix = function(5, &backend);
    program_all(&mut msix);
    for vector in [1, 3, 4] {
        backend.fail_next_open(vector, Failure::Refused);
    }
    control(&mut msix, ENABLE);
    let error = msix.flush().unwrap_err();
    assert_eq!(error.to_string(), "3 vectors are not routed as the registers ask, the first is 1");
    assert_eq!(unsynced(&msix), [1, 3, 4]);
}

#[test]
fn c11_a_vector_that_could_not_be_closed_is_listed_until_it_is() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    backend.fail_next_close(1);
    mask(&mut msix, 1);
    assert_eq!(unsynced(&msix), [1]);
    assert_eq!(msix.trigger(1).unwrap(), Signal::Sent);
    msix.flush().unwrap();
    assert_eq!(unsynced(&msix), NONE);
    assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
}

#[test]
fn c11_a_late_failure_is_heard_by_the_next_sync() {
    for failure in CLOSING {
        let backend = MockBackend::new(3).unwrap();
        let mut msix = function(3, &backend).with_observer(Events::default());
        bring_up(&mut msix);
        backend.fail_late(1, failure);
        msix.observer().take();
        mask(&mut msix, 0);
        let events = msix.observer().take();
        assert_eq!(events[0], Event::RouteFailed(1, "told to fail".into()));
        assert_eq!(events[1], Event::RouteChanged(0, Route::Closed));
        assert_eq!(unsynced(&msix)[0], 1);
    }
}

#[test]
fn c11_a_late_failure_is_heard_by_flush() {
    let backend = MockBackend::new(3).unwrap();
    let mut msix = function(3, &backend);
    bring_up(&mut msix);
    backend.fail_late(1, Failure::Refused);
    assert!(matches!(msix.flush(), Err(MsixError::Unsynced { vectors: 1, .. })));
    backend.fail_late(2, Failure::Exhausted);
    backend.take_batches();
    assert!(matches!(msix.flush(), Err(MsixError::Unsynced { vectors: 1, .. })));
    assert_eq!(backend.take_batches(), [[open(2)]], "heard first, tried again once");
}

#[test]
fn c11_the_counters_add_up_over_failures() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend).with_observer(Counters::default());
    program_all(&mut msix);
    msix.trigger(0).unwrap();
    msix.trigger(1).unwrap();
    backend.fail_next_sends(1);
    control(&mut msix, ENABLE);
    program(&mut msix, 1, message(0));
    let counts = msix.observer().counts();
    assert_eq!((counts.latched, counts.delivered, counts.routes_failed), (2, 1, 1));
    assert!(pending(&msix, 0));
    assert!(!pending(&msix, 1));
}

#[test]
fn c11_a_signal_that_could_not_be_sent_is_counted_and_is_no_other() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend).with_observer(Counters::default());
    bring_up(&mut msix);
    backend.fail_next_sends(1);
    assert!(msix.trigger(0).is_err());
    let counts = msix.observer().counts();
    assert_eq!(counts.failed, 1);
    assert_eq!(counts.sent + counts.latched + counts.collapsed + counts.handed_over, 0);
}
