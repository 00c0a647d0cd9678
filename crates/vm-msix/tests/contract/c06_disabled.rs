//! C6: Enable = 0 closes every vector and keeps latching; a latched signal whose cause is gone is taken back.

use crate::support::guest::{
    COUNTS, ENABLE, FUNCTION_MASK, OFF, bring_up, control, function, mask, message, pba, pending,
    unmask,
};
use crate::support::host::on_each_host;
use crate::support::observing::{Event, Events};
use vm_msix::test_utils::MockBackend;
use vm_msix::{MsixError, MsixStatus, Route, Signal};

#[test]
fn c06_the_device_asks_enabled_to_choose_intx() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend);
    assert!(!msix.enabled());
    assert_eq!(control(&mut msix, ENABLE), MsixStatus::Changed);
    assert!(msix.enabled());
    assert_eq!(control(&mut msix, ENABLE | FUNCTION_MASK), MsixStatus::Changed);
    assert!(msix.enabled() && msix.masked());
    assert_eq!(control(&mut msix, FUNCTION_MASK), MsixStatus::Changed);
    assert!(!msix.enabled() && msix.masked());
    // Bus mastering is not asked for.
    control(&mut msix, ENABLE);
    msix.set_bus_master(false);
    assert!(msix.enabled());
}

#[test]
fn c06_disabled_closes_every_vector_and_keeps_latching() {
    for count in COUNTS {
        let backend = MockBackend::new(count).unwrap();
        let mut msix = function(count, &backend);
        bring_up(&mut msix);
        control(&mut msix, OFF);
        for vector in [0, count / 2, count - 1] {
            assert_eq!(backend.route(vector), Route::Closed);
            msix.trigger(vector).unwrap();
            assert!(pending(&msix, vector));
        }
        assert_eq!(backend.take_sent(), []);
        control(&mut msix, ENABLE);
        let mut expected = vec![0, count / 2, count - 1];
        expected.dedup();
        let sent: Vec<u16> = backend.take_sent().iter().map(|&(vector, _)| vector).collect();
        assert_eq!(sent, if count == 1 { vec![0] } else { expected });
    }
}

#[test]
fn c06_retract_clears_the_pending_bit_and_unmasking_delivers_nothing() {
    on_each_host(65, |msix, host| {
        bring_up(msix);
        control(msix, ENABLE | FUNCTION_MASK);
        for vector in [0, 63, 64] {
            msix.trigger(vector).unwrap();
            msix.trigger(vector).unwrap();
        }
        assert_eq!(pba(msix), [1 << 63 | 1, 1]);
        assert!(msix.retract(63).unwrap());
        assert_eq!(pba(msix), [1, 1]);
        assert!(msix.retract(64).unwrap());
        assert_eq!(pba(msix), [1, 0]);
        control(msix, ENABLE);
        assert_eq!(host.take_sent(), [(0, message(0))]);
    });
}

#[test]
fn c06_a_signal_after_retract_is_a_new_one() {
    on_each_host(1, |msix, host| {
        bring_up(msix);
        mask(msix, 0);
        msix.trigger(0).unwrap();
        msix.retract(0).unwrap();
        assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
        unmask(msix, 0);
        assert_eq!(host.take_sent(), [(0, message(0))]);
    });
}

#[test]
fn c06_retract_tells_whether_there_was_something_to_take_back() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        assert!(!msix.retract(0).unwrap(), "an open vector latches nothing");
        mask(msix, 0);
        assert!(!msix.retract(0).unwrap());
        msix.trigger(0).unwrap();
        assert!(!msix.retract(1).unwrap(), "it is another vector's");
        assert!(msix.retract(0).unwrap());
        assert!(!msix.retract(0).unwrap());
        assert_eq!(host.take_sent(), []);
    });
}

#[test]
fn c06_retract_of_a_vector_that_is_not_there_is_an_error() {
    let backend = MockBackend::new(2).unwrap();
    let msix = function(2, &backend);
    for vector in [2, 63, 2047, 2048, u16::MAX] {
        match msix.retract(vector) {
            Err(MsixError::VectorOutOfRange { vector: at, vectors: 2 }) => {
                assert_eq!(at, usize::from(vector));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn c06_the_observer_hears_of_a_retracted_signal_once() {
    let backend = MockBackend::new(1).unwrap();
    let msix = function(1, &backend).with_observer(Events::default());
    msix.trigger(0).unwrap();
    msix.retract(0).unwrap();
    msix.retract(0).unwrap();
    assert_eq!(msix.observer().take(), [Event::Signalled(0, Signal::Latched), Event::Retracted(0)]);
}
