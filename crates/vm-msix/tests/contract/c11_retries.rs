//! C11: who buys another try. A refused message, only a change of that vector's route; a resource, only Message Control
//! or a flush; a vector that could not be closed is told again.

use crate::support::guest::{
    ADDRESS, DATA, ENABLE, FUNCTION_MASK, NONE, OFF, bring_up, closed, control, function, mask,
    message, open, program_all, unmask, unsynced, write_dword,
};
use vm_msix::test_utils::{Failure, MockBackend};
use vm_msix::{MsiMessage, MsixConfig, Route};

const NOTHING: [Vec<(u16, Route)>; 0] = [];

/// Two vectors of which vector 1 failed to open; its next openings fail in the same way.
fn failed(backend: &MockBackend, failure: Failure) -> MsixConfig<&MockBackend> {
    let mut msix = function(2, backend);
    program_all(&mut msix);
    backend.fail_next_open(1, failure);
    control(&mut msix, ENABLE);
    backend.take_batches();
    msix
}

/// Everything that a guest can repeat without touching Message Control or vector 1.
fn annoy(msix: &mut MsixConfig<&MockBackend>) {
    mask(msix, 0);
    write_dword(msix, 0, DATA, 0x99);
    unmask(msix, 0);
    unmask(msix, 1); // it is unmasked
    msix.write_msix_capability(0, &[0xff]);
    msix.write_msix_capability(2, &[0xff]);
    msix.write_msix_capability(4, &[0xff; 4]);
    msix.write_msix_capability(3, &[0xff; 8]);
    msix.write_msix_table(16, &[0xff; 3]);
    msix.write_pba_entries(0, &[0xff; 8]);
    let mut data = [0; 8];
    msix.read_msix_table(16, &mut data);
    msix.read_pba_entries(0, &mut data);
    msix.read_msix_capability(0);
    msix.trigger(0).unwrap();
    msix.trigger(1).unwrap();
}

fn told_about_1(backend: &MockBackend) -> Vec<Route> {
    let batches = backend.take_batches().into_iter().flatten();
    batches.filter(|&(vector, _)| vector == 1).map(|(_, route)| route).collect()
}

#[test]
fn c11_nothing_that_leaves_the_vector_and_message_control_alone_buys_another_try() {
    for failure in [Failure::Refused, Failure::Exhausted] {
        let backend = MockBackend::new(2).unwrap();
        let mut msix = failed(&backend, failure);
        for _ in 0..3 {
            annoy(&mut msix);
        }
        assert_eq!(told_about_1(&backend), [], "{failure:?}");
        assert_eq!(unsynced(&msix), [1]);
    }
}

#[test]
fn c11_a_refused_message_is_tried_again_only_when_its_route_changes() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = failed(&backend, Failure::Refused);
    control(&mut msix, ENABLE);
    control(&mut msix, ENABLE);
    msix.set_bus_master(true);
    let _ = msix.flush();
    assert_eq!(backend.take_batches(), NOTHING);

    write_dword(&mut msix, 1, DATA, 0x77);
    let moved = MsiMessage { data: 0x77, ..message(1) };
    assert_eq!(backend.take_batches(), [[(1, Route::Open(moved))]]);
    assert_eq!(unsynced(&msix), NONE);
}

#[test]
fn c11_a_refused_message_may_be_tried_again_after_its_vector_was_closed() {
    type Cycle = fn(&mut MsixConfig<&MockBackend>);
    let cycles: [Cycle; 4] = [
        |msix| {
            mask(msix, 1);
            unmask(msix, 1);
        },
        |msix| {
            control(msix, OFF);
            control(msix, ENABLE);
        },
        |msix| {
            control(msix, ENABLE | FUNCTION_MASK);
            control(msix, ENABLE);
        },
        |msix| {
            msix.set_bus_master(false);
            msix.set_bus_master(true);
        },
    ];
    for cycle in cycles {
        let backend = MockBackend::new(2).unwrap();
        let mut msix = failed(&backend, Failure::Refused);
        backend.fail_next_open(1, Failure::Refused);
        cycle(&mut msix);
        assert_eq!(told_about_1(&backend), [open(1).1]);
        assert_eq!(unsynced(&msix), [1]);
        cycle(&mut msix);
        assert_eq!(told_about_1(&backend), [open(1).1]);
        assert_eq!(unsynced(&msix), NONE);
    }
}

#[test]
fn c11_a_refused_rewrite_leaves_the_vector_closed_until_the_next_rewrite() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    backend.fail_next_open(1, Failure::Refused);
    write_dword(&mut msix, 1, ADDRESS, 0xdead_0000);
    assert_eq!(unsynced(&msix), [1]);
    msix.trigger(1).unwrap();
    backend.take_batches();
    // Back to the message that worked.
    write_dword(&mut msix, 1, ADDRESS, 0xfee0_1000);
    assert_eq!(backend.take_batches(), [[open(1)]]);
    assert_eq!(backend.take_sent(), [(1, message(1))]);
}

#[test]
fn c11_want_of_a_resource_is_tried_again_once_at_each_write_of_message_control() {
    type Write = fn(&mut MsixConfig<&MockBackend>);
    // The same value is a write of Message Control too, in each of its forms.
    let writes: [Write; 3] = [
        |msix| {
            control(msix, ENABLE);
        },
        |msix| {
            msix.write_msix_capability(3, &[0x80]);
        },
        |msix| {
            msix.write_msix_capability(0, &[0x11, 0, 1, 0x80]);
        },
    ];
    let backend = MockBackend::new(2).unwrap();
    let mut msix = failed(&backend, Failure::Exhausted);
    for write in writes {
        backend.fail_next_open(1, Failure::Exhausted);
        write(&mut msix);
        assert_eq!(backend.take_batches(), [[open(1)]]);
        annoy(&mut msix);
        assert_eq!(told_about_1(&backend), []);
    }
    writes[0](&mut msix);
    assert_eq!(backend.take_batches(), [[open(1)]]);
    assert_eq!(unsynced(&msix), NONE);
    // It was signalled meanwhile, once by each round.
    let of_1 = backend.take_sent().into_iter().filter(|&(vector, _)| vector == 1);
    assert_eq!(of_1.collect::<Vec<_>>(), [(1, message(1))]);
}

#[test]
fn c11_want_of_a_resource_is_tried_again_once_at_each_flush() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = failed(&backend, Failure::Exhausted);
    for _ in 0..3 {
        backend.fail_next_open(1, Failure::Exhausted);
        msix.flush().unwrap_err();
        assert_eq!(backend.take_batches(), [[open(1)]]);
    }
    msix.flush().unwrap();
    assert_eq!(backend.take_batches(), [[open(1)]]);
}

#[test]
fn c11_want_of_a_resource_is_not_tried_again_by_writes_of_the_vector_or_of_bus_mastering() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = failed(&backend, Failure::Exhausted);
    for round in 0..3 {
        mask(&mut msix, 1);
        write_dword(&mut msix, 1, DATA, round);
        unmask(&mut msix, 1);
        write_dword(&mut msix, 1, DATA, 0x100 + round);
        msix.set_bus_master(false);
        msix.set_bus_master(true);
    }
    assert_eq!(told_about_1(&backend), []);
    assert_eq!(unsynced(&msix), [1]);
    control(&mut msix, ENABLE);
    assert_eq!(told_about_1(&backend), [Route::Open(MsiMessage { data: 0x102, ..message(1) })]);
}

#[test]
fn c11_a_vector_that_could_not_be_closed_is_told_again_until_it_is() {
    type Sync = fn(&mut MsixConfig<&MockBackend>);
    let syncs: [Sync; 5] = [
        |msix| {
            control(msix, ENABLE);
        },
        |msix| {
            control(msix, ENABLE | FUNCTION_MASK);
        },
        |msix| msix.set_bus_master(true),
        |msix| {
            write_dword(msix, 1, DATA, 0x99);
        },
        |msix| {
            let _ = msix.flush();
        },
    ];
    for sync in syncs {
        let backend = MockBackend::new(2).unwrap();
        let mut msix = function(2, &backend);
        bring_up(&mut msix);
        mask(&mut msix, 0);
        backend.fail_next_close(1);
        mask(&mut msix, 1);
        backend.take_batches();
        sync(&mut msix);
        assert_eq!(backend.take_batches(), [[closed(1)]]);
        assert_eq!(unsynced(&msix), NONE);
    }
}

#[test]
fn c11_a_vector_that_stayed_open_to_its_old_message_is_told_the_new_one_again() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    backend.fail_next_open(1, Failure::StillOpen);
    write_dword(&mut msix, 1, DATA, 0x99);
    assert_eq!(unsynced(&msix), [1]);
    backend.take_batches();
    msix.set_bus_master(true);
    let moved = Route::Open(MsiMessage { data: 0x99, ..message(1) });
    assert_eq!(backend.take_batches(), [[(1, moved)]]);
    assert_eq!(unsynced(&msix), NONE);
}

#[test]
fn c11_late_failures_buy_tries_as_others_do() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    backend.fail_late(1, Failure::Refused);
    backend.take_batches();
    control(&mut msix, ENABLE);
    assert_eq!(backend.take_batches(), NOTHING);
    write_dword(&mut msix, 1, DATA, 0x99);
    assert_eq!(told_about_1(&backend).len(), 1);

    backend.fail_late(1, Failure::Exhausted);
    mask(&mut msix, 0);
    unmask(&mut msix, 0);
    assert_eq!(told_about_1(&backend), []);
    control(&mut msix, ENABLE);
    assert_eq!(told_about_1(&backend).len(), 1);

    backend.fail_late(1, Failure::StillOpen);
    msix.set_bus_master(true);
    assert_eq!(told_about_1(&backend).len(), 1);
    assert_eq!(unsynced(&msix), NONE);
}
