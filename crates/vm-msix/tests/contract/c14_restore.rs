//! C14: what a saved state holds, and what restoring does.

use crate::support::guest::{
    COUNTS, ENABLE, FUNCTION_MASK, NAME, NONE, OFF, PCI_ID, bring_up, closed, control, function,
    mask, message, open, pba, pending, program, table, unmask, unsynced,
};
use crate::support::host::on_each_host;
use crate::support::observing::{Event, Events};
use crate::support::spy::{Call, Spy};
use vm_msix::test_utils::{Failure, MockBackend};
use vm_msix::{MsiMessage, MsixStateV1, Route, Signal, VectorStateV1};

#[test]
fn c14_a_snapshot_holds_what_the_guest_programmed_and_what_is_pending() {
    let backend = MockBackend::new(3).unwrap();
    let mut msix = function(3, &backend);
    program(&mut msix, 1, MsiMessage::new(0x1_fee0_0000, 0x41));
    unmask(&mut msix, 1);
    control(&mut msix, ENABLE | FUNCTION_MASK);
    msix.set_bus_master(false);
    msix.trigger(2).unwrap();
    let reset = VectorStateV1 { address: 0, data: 0, masked: true, pending: false };
    assert_eq!(
        msix.snapshot(),
        MsixStateV1 {
            pci_id: PCI_ID,
            device_name: NAME.into(),
            enabled: true,
            function_masked: true,
            bus_master: false,
            vectors: vec![
                reset,
                VectorStateV1 { address: 0x1_fee0_0000, data: 0x41, masked: false, pending: false },
                VectorStateV1 { pending: true, ..reset },
            ],
        }
    );
}

#[test]
fn c14_a_snapshot_has_no_side_effect() {
    on_each_host(65, |msix, host| {
        bring_up(msix);
        mask(msix, 64);
        msix.trigger(64).unwrap();
        host.take_batches();
        let first = msix.snapshot();
        assert_eq!(first, msix.snapshot());
        assert!(pending(msix, 64));
        assert_eq!(host.take_batches(), [] as [Vec<_>; 0]);
        unmask(msix, 64);
        assert_eq!(host.take_sent(), [(64, message(64))]);
    });
}

#[test]
fn c14_a_restored_function_continues_as_the_saved_one() {
    for count in COUNTS {
        let mut old = function(count, MockBackend::new(count).unwrap());
        bring_up(&mut old);
        mask(&mut old, count - 1);
        old.trigger(count - 1).unwrap();
        let saved = old.snapshot();

        let backend = MockBackend::new(count).unwrap();
        let mut new = function(count, &backend);
        new.restore(&saved).unwrap();
        assert_eq!(table(&new), table(&old));
        assert_eq!(pba(&new), pba(&old));
        assert_eq!(new.snapshot(), saved);
        assert!(new.enabled() && !new.masked());
        assert_eq!(unsynced(&new), NONE);
        assert!(pending(&new, count - 1));
        unmask(&mut new, count - 1);
        assert_eq!(backend.take_sent(), [(count - 1, message(count - 1))]);
    }
}

#[test]
fn c14_pending_signals_are_delivered_once_when_restore_opens_their_vectors() {
    on_each_host(3, |msix, host| {
        bring_up(msix);
        let mut saved = msix.snapshot();
        saved.vectors[0].pending = true;
        saved.vectors[2].pending = true;
        msix.restore(&saved).unwrap();
        assert_eq!(host.take_sent(), [(0, message(0)), (2, message(2))]);
        assert_eq!(pba(msix), [0]);
        control(msix, OFF);
        control(msix, ENABLE);
        assert_eq!(host.take_sent(), []);
    });
}

#[test]
fn c14_pending_signals_stay_pending_where_restore_opens_nothing() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        control(msix, ENABLE | FUNCTION_MASK);
        let mut saved = msix.snapshot();
        saved.vectors[1].pending = true;
        msix.restore(&saved).unwrap();
        assert_eq!(pba(msix), [2]);
        assert_eq!(host.take_sent(), []);
        assert_eq!(msix.trigger(1).unwrap(), Signal::Collapsed);
        control(msix, ENABLE);
        assert_eq!(host.take_sent(), [(1, message(1))]);
    });
}

#[test]
fn c14_restore_is_warm_what_is_there_is_closed_and_released_first() {
    let spy = Spy::new(MockBackend::new(2).unwrap());
    let mut msix = function(2, &spy);
    bring_up(&mut msix);
    mask(&mut msix, 1);
    let saved = msix.snapshot();
    unmask(&mut msix, 1);
    spy.take_calls();
    msix.restore(&saved).unwrap();
    let calls: Vec<_> = spy
        .take_calls()
        .into_iter()
        .filter(|call| matches!(call, Call::SetRoutes(_) | Call::Release | Call::Signal(_)))
        .collect();
    assert_eq!(
        calls,
        [
            Call::SetRoutes(vec![closed(0), closed(1)]),
            Call::Release,
            Call::SetRoutes(vec![open(0)]),
        ]
    );
}

#[test]
fn c14_restore_forgets_what_was_pending_and_keeps_what_the_state_says() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        let saved = msix.snapshot();
        control(msix, OFF);
        msix.trigger(0).unwrap();
        msix.trigger(1).unwrap();
        msix.restore(&saved).unwrap();
        assert_eq!(pba(msix), [0]);
        assert_eq!(host.take_sent(), []);
        assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    });
}

#[test]
fn c14_restore_takes_bus_mastering_over() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend);
    bring_up(&mut msix);
    let allowed = msix.snapshot();
    msix.set_bus_master(false);
    let refused = msix.snapshot();
    msix.restore(&allowed).unwrap();
    assert_eq!(backend.route(0), open(0).1);
    msix.restore(&refused).unwrap();
    assert_eq!(backend.route(0), Route::Closed);
    msix.set_bus_master(true);
    assert_eq!(backend.route(0), open(0).1);
}

#[test]
fn c14_a_backend_failure_after_validation_leaves_the_new_registers_and_c11_applies() {
    for failure in [Failure::Refused, Failure::Exhausted, Failure::StillOpen] {
        let backend = MockBackend::new(2).unwrap();
        let mut msix = function(2, &backend).with_observer(Events::default());
        bring_up(&mut msix);
        let mut saved = msix.snapshot();
        saved.vectors[0].pending = true;
        saved.vectors[1].pending = true;
        msix.reset();
        msix.observer().take();
        backend.fail_next_open(1, failure);
        msix.restore(&saved).unwrap();
        assert!(msix.enabled() && !msix.table_masked(1));
        assert_eq!(backend.take_sent(), [(0, message(0))]);
        assert!(pending(&msix, 1), "{failure:?}");
        assert_eq!(unsynced(&msix), [1]);
        assert!(msix.observer().take().contains(&Event::RouteFailed(1, "told to fail".into())));
        match failure {
            Failure::Refused => program(&mut msix, 1, MsiMessage::new(0, 1)),
            Failure::Exhausted | Failure::StillOpen => msix.flush().unwrap(),
        }
        assert_eq!(backend.take_sent().len(), 1);
        assert_eq!(unsynced(&msix), NONE);
    }
}

#[test]
fn c14_restore_forgets_failures() {
    for failure in [Failure::Refused, Failure::Exhausted, Failure::StillOpen] {
        let backend = MockBackend::new(1).unwrap();
        let mut msix = function(1, &backend);
        backend.fail_next_open(0, failure);
        bring_up(&mut msix);
        assert_eq!(unsynced(&msix), [0]);
        let saved = msix.snapshot();
        msix.restore(&saved).unwrap();
        assert_eq!(unsynced(&msix), NONE);
        assert_eq!(backend.route(0), open(0).1);
    }
}
