//! C7 when a function goes away: destroy, drop, and the triggers that outlive it.

use std::sync::Arc;

use crate::support::guest::{
    ENABLE, NONE, bring_up, closed, control, function, message, pba, table, unsynced,
};
use crate::support::host::{Wire, on_each_host};
use crate::support::observing::{Event, Events};
use vm_msix::test_utils::MockBackend;
use vm_msix::{MsixConfig, MsixError, Route, Signal};

#[test]
fn c07_destroy_does_what_reset_does() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    backend.take_batches();
    msix.destroy();
    assert_eq!(backend.take_batches(), [[closed(0), closed(1)]]);
    assert_eq!(backend.releases(), 1);
    assert_eq!(table(&msix), [0, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(pba(&msix), [0]);
    assert_eq!(unsynced(&msix), NONE);
    assert!(!msix.enabled());
}

#[test]
fn c07_after_destroy_a_guest_that_still_reaches_the_registers_opens_nothing() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    msix.destroy();
    backend.take_batches();
    bring_up(&mut msix);
    assert!(msix.enabled());
    assert!(backend.take_batches().is_empty());
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
}

#[test]
fn c07_destroy_may_come_twice() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    msix.destroy();
    backend.take_batches();
    msix.destroy();
    assert_eq!(backend.take_batches(), [] as [Vec<_>; 0]);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    control(&mut msix, ENABLE);
    assert_eq!(backend.take_sent(), []);
}

#[test]
fn c07_dropping_the_function_releases_whatever_holds_the_backend() {
    let backend = Arc::new(MockBackend::new(2).unwrap());
    let mut msix = function(2, Arc::clone(&backend));
    bring_up(&mut msix);
    let trigger = msix.trigger_handle(1).unwrap();
    drop(msix);
    assert_eq!(backend.releases(), 1);
    assert_eq!(backend.route(1), Route::Closed);
    drop(trigger);
    assert_eq!(backend.releases(), 1);
}

#[test]
fn c07_giving_a_function_an_observer_releases_nothing() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend);
    bring_up(&mut msix);
    let msix = msix.with_observer(Events::default());
    assert_eq!(backend.releases(), 0);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    drop(msix);
    assert_eq!(backend.releases(), 1);
}

#[test]
fn c07_a_trigger_that_outlives_its_function_is_valid_and_reaches_nobody() {
    let wire = Arc::<Wire>::default();
    let mut msix = function(2, wire.signal_mode());
    bring_up(&mut msix);
    let trigger = msix.trigger_handle(1).unwrap();
    assert_eq!(trigger.trigger().unwrap(), Signal::Sent);
    assert_eq!(wire.take_sent(), [(1, message(1))]);
    drop(msix);
    let clone = trigger.clone();
    assert_eq!(trigger.trigger().unwrap(), Signal::Latched);
    drop(trigger);
    assert_eq!(clone.trigger().unwrap(), Signal::Collapsed);
    assert_eq!(wire.take_sent(), []);
}

#[test]
fn c07_a_trigger_goes_on_through_reset_and_restore() {
    on_each_host(2, |msix, host| {
        let trigger = msix.trigger_handle(1).unwrap();
        bring_up(msix);
        let saved = msix.snapshot();
        msix.reset();
        assert_eq!(trigger.trigger().unwrap(), Signal::Latched);
        msix.restore(&saved).unwrap();
        assert_eq!(host.take_sent(), [], "the reset function's signal is not the restored one's");
        assert_eq!(trigger.trigger().unwrap(), Signal::Sent);
        assert_eq!(host.take_sent(), [(1, message(1))]);
    });
}

#[test]
fn c07_a_trigger_knows_its_vector_and_there_is_none_for_a_vector_that_is_not_there() {
    let backend = MockBackend::new(2).unwrap();
    let msix = function(2, &backend);
    assert_eq!(msix.trigger_handle(1).unwrap().vector().get(), 1);
    let error = msix.trigger_handle(2).map(|_| ()).unwrap_err();
    assert!(matches!(error, MsixError::VectorOutOfRange { vector: 2, vectors: 2 }));
}

#[test]
fn c07_a_trigger_tells_the_observer_that_was_there_when_it_was_handed_out() {
    let backend = MockBackend::new(1).unwrap();
    let msix = function(1, &backend);
    let early = msix.trigger_handle(0).unwrap();
    let events = Arc::<Events>::default();
    let msix: MsixConfig<_, _> = msix.with_observer(Arc::clone(&events));
    early.trigger().unwrap();
    assert_eq!(events.take(), []);
    msix.trigger_handle(0).unwrap().trigger().unwrap();
    assert_eq!(events.take(), [Event::Signalled(0, Signal::Collapsed)]);
}

#[test]
fn c07_a_function_whose_backend_does_not_fit_is_not_made() {
    let backend = MockBackend::new(3).unwrap();
    let error = MsixConfig::new(2, &backend, 0, "nic").map(|_| ()).unwrap_err();
    assert!(matches!(error, MsixError::BackendVectors { backend: 3, vectors: 2 }), "{error:?}");
}
