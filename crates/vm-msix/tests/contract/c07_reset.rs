//! C7: reset takes everything back to its first state and gives every host resource back.

use crate::support::guest::{
    COUNTS, ENABLE, FUNCTION_MASK, NONE, OFF, bring_up, closed, control, function, mask, message,
    open, pba, program, table, unmask, unsynced,
};
use crate::support::host::on_each_host;
use crate::support::observing::{Event, Events};
use crate::support::spy::{Call, Spy};
use vm_msix::test_utils::{Failure, MockBackend};
use vm_msix::{MsiMessage, Route, Signal};

#[test]
fn c07_after_reset_the_registers_are_as_in_a_new_function() {
    for count in COUNTS {
        let backend = MockBackend::new(count).unwrap();
        let mut msix = function(count, &backend);
        let new = table(&msix);
        bring_up(&mut msix);
        control(&mut msix, ENABLE | FUNCTION_MASK);
        msix.trigger(count - 1).unwrap();
        msix.reset();
        assert!(!msix.enabled());
        assert!(!msix.masked());
        assert_eq!(msix.read_msix_capability(0), 0);
        assert!((0..usize::from(count)).all(|vector| msix.table_masked(vector)));
        assert_eq!(table(&msix), new);
        assert!(new.chunks(4).all(|entry| entry == [0, 0, 0, 1]));
        assert!(pba(&msix).iter().all(|&qword| qword == 0));
        assert!((0..count).all(|vector| backend.route(vector) == Route::Closed));
        assert_eq!(unsynced(&msix), NONE);
    }
}

#[test]
fn c07_reset_empties_the_latches_and_nothing_is_delivered_afterwards() {
    on_each_host(65, |msix, host| {
        bring_up(msix);
        control(msix, OFF);
        for vector in [0, 63, 64] {
            msix.trigger(vector).unwrap();
        }
        msix.reset();
        assert_eq!(pba(msix), [0, 0]);
        bring_up(msix);
        assert_eq!(host.take_sent(), []);
        assert_eq!(msix.trigger(64).unwrap(), Signal::Sent);
    });
}

#[test]
fn c07_reset_closes_before_it_releases_and_releases_once() {
    let spy = Spy::new(MockBackend::new(2).unwrap());
    let mut msix = function(2, &spy);
    bring_up(&mut msix);
    msix.trigger(0).unwrap();
    spy.take_calls();
    msix.reset();
    let calls: Vec<_> = spy
        .take_calls()
        .into_iter()
        .filter(|call| matches!(call, Call::SetRoutes(_) | Call::Release))
        .collect();
    assert_eq!(calls, [Call::SetRoutes(vec![closed(0), closed(1)]), Call::Release]);
}

#[test]
fn c07_closed_alone_releases_nothing() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    mask(&mut msix, 0);
    control(&mut msix, ENABLE | FUNCTION_MASK);
    control(&mut msix, OFF);
    msix.set_bus_master(false);
    msix.flush().unwrap();
    assert_eq!(backend.releases(), 0);
    msix.reset();
    assert_eq!(backend.releases(), 1);
}

#[test]
fn c07_reset_leaves_bus_mastering_to_configuration_space() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend);
    msix.set_bus_master(false);
    msix.reset();
    bring_up(&mut msix);
    assert_eq!(backend.route(0), Route::Closed);
    msix.set_bus_master(true);
    assert_eq!(backend.route(0), open(0).1);
}

#[test]
fn c07_after_reset_the_function_works_as_a_new_one() {
    on_each_host(2, |msix, host| {
        for round in 0..3 {
            bring_up(msix);
            let moved = MsiMessage::new(0xfee0_0000, round);
            mask(msix, 1);
            program(msix, 1, moved);
            msix.trigger(1).unwrap();
            unmask(msix, 1);
            assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
            assert_eq!(host.take_sent(), [(1, moved), (0, message(0))]);
            msix.reset();
            assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
            msix.retract(0).unwrap();
        }
    });
}

#[test]
fn c07_a_vector_that_could_not_be_closed_is_closed_by_the_release() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend);
    bring_up(&mut msix);
    backend.fail_next_close(0);
    msix.reset();
    assert_eq!(unsynced(&msix), NONE);
    assert_eq!(backend.route(0), Route::Closed);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
}

#[test]
fn c07_reset_forgets_failures() {
    for failure in [Failure::Refused, Failure::Exhausted, Failure::StillOpen] {
        let backend = MockBackend::new(1).unwrap();
        let mut msix = function(1, &backend);
        backend.fail_next_open(0, failure);
        bring_up(&mut msix);
        assert_eq!(unsynced(&msix), [0]);
        msix.reset();
        assert_eq!(unsynced(&msix), NONE);
        // Enabled before it is unmasked: no write of Message Control lends it another try.
        control(&mut msix, ENABLE);
        program(&mut msix, 0, message(0));
        unmask(&mut msix, 0);
        assert_eq!(backend.route(0), open(0).1, "{failure:?}");
    }
}

#[test]
fn c07_the_observer_hears_of_the_closes_and_of_each_latched_signal_that_reset_took() {
    let backend = MockBackend::new(3).unwrap();
    let mut msix = function(3, &backend).with_observer(Events::default());
    bring_up(&mut msix);
    mask(&mut msix, 1);
    msix.trigger(1).unwrap();
    msix.observer().take();
    msix.reset();
    assert_eq!(
        msix.observer().take(),
        [
            Event::RouteChanged(0, Route::Closed),
            Event::RouteChanged(2, Route::Closed),
            Event::Retracted(1),
        ]
    );
}
