//! C11: a vector that could not be closed may still send; it is told again at the next sync, whatever that is for.

use crate::support::guest::{
    DATA, ENABLE, NONE, bring_up, closed, control, function, mask, unmask, unsynced, write_dword,
};
use vm_msix::test_utils::{Failure, MockBackend};
use vm_msix::{MsixConfig, Route, Signal};

/// Two open vectors, of which vector 1 was masked and did not close.
fn still_open(backend: &MockBackend) -> MsixConfig<&MockBackend> {
    let mut msix = function(2, backend);
    bring_up(&mut msix);
    backend.fail_next_close(1);
    mask(&mut msix, 1);
    assert_eq!(msix.trigger(1).unwrap(), Signal::Sent);
    backend.take_batches();
    msix
}

#[test]
fn c11_a_vector_that_is_still_open_is_told_again_whatever_failed_before() {
    for failure in [Failure::Refused, Failure::Exhausted] {
        let backend = MockBackend::new(2).unwrap();
        let mut msix = function(2, &backend);
        bring_up(&mut msix);
        // The open was deferred and failed; then the old message turned out to be still in force.
        backend.fail_late(1, failure);
        backend.fail_late(1, Failure::StillOpen);
        backend.take_batches();
        mask(&mut msix, 1);
        assert_eq!(backend.take_batches(), [[closed(1)]], "{failure:?}");
        assert_eq!(unsynced(&msix), NONE);
    }
}

#[test]
fn c11_a_vector_that_is_still_open_is_told_again_together_with_another_one() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = still_open(&backend);
    mask(&mut msix, 0);
    assert_eq!(backend.take_batches(), [[closed(0), closed(1)]]);
    assert_eq!(unsynced(&msix), NONE);
}

#[test]
fn c11_a_vector_that_is_still_open_is_told_again_when_its_mask_is_written_again() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = still_open(&backend);
    mask(&mut msix, 1);
    assert_eq!(backend.take_batches(), [[closed(1)]]);
    assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
}

#[test]
fn c11_a_vector_that_is_still_open_is_told_again_by_the_sync_that_hears_of_it() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    backend.fail_late(1, Failure::StillOpen);
    backend.take_batches();
    mask(&mut msix, 0);
    let told: Vec<u16> =
        backend.take_batches().concat().iter().map(|&(vector, _)| vector).collect();
    assert_eq!(told, [0, 1]);
}

#[test]
fn c11_a_vector_that_is_still_open_may_be_opened_again() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = still_open(&backend);
    write_dword(&mut msix, 1, DATA, 0x99);
    assert_eq!(backend.route(1), Route::Closed);
    backend.fail_next_close(1);
    unmask(&mut msix, 1);
    mask(&mut msix, 1);
    assert_eq!(unsynced(&msix), [1]);
    unmask(&mut msix, 1);
    control(&mut msix, ENABLE);
    assert_eq!(unsynced(&msix), NONE);
    assert!(matches!(backend.route(1), Route::Open(message) if message.data == 0x99));
}
