//! C14, C2: a function that is paused sends nothing, keeps everything, and goes on.

use vm_msix::test_utils::MockBackend;
use vm_msix::{Route, Signal};

use crate::support::guest::{
    DATA, ENABLE, bring_up, closed, control, function, mask, unmask, write_dword,
};

#[test]
fn c14_a_pause_closes_every_open_vector_in_one_batch_and_leaves_the_registers() {
    let backend = MockBackend::new(3).unwrap();
    let mut msix = function(3, &backend);
    bring_up(&mut msix);
    mask(&mut msix, 1);
    backend.take_batches();

    msix.pause();
    assert_eq!(backend.take_batches(), [[closed(0), closed(2)]]);
    assert!(msix.enabled() && !msix.masked() && !msix.table_masked(0));
    msix.pause();
    assert!(backend.take_batches().is_empty());
}

#[test]
fn c14_what_comes_during_a_pause_is_saved_and_delivered_once_on_resume() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    msix.pause();
    assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
    assert_eq!(msix.trigger(1).unwrap(), Signal::Collapsed);
    let state = msix.snapshot();
    assert_eq!(state.vectors.iter().map(|v| v.pending).collect::<Vec<_>>(), [false, true]);
    assert!(backend.take_sent().is_empty());

    msix.resume();
    assert_eq!(backend.take_sent().len(), 1);
    assert_eq!(msix.trigger(1).unwrap(), Signal::Sent);
}

#[test]
fn c14_no_register_write_opens_a_vector_during_a_pause() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    msix.pause();
    mask(&mut msix, 0);
    unmask(&mut msix, 0);
    write_dword(&mut msix, 0, DATA, 0x55);
    control(&mut msix, 0);
    control(&mut msix, ENABLE);
    msix.set_bus_master(false);
    msix.set_bus_master(true);
    assert_eq!((backend.route(0), backend.route(1)), (Route::Closed, Route::Closed));

    msix.resume();
    assert!(matches!(backend.route(0), Route::Open(message) if message.data == 0x55));
    assert!(matches!(backend.route(1), Route::Open(_)));
}

#[test]
fn c14_a_paused_function_that_is_restored_waits_for_resume() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    msix.pause();
    msix.trigger(0).unwrap();
    let state = msix.snapshot();

    let other = MockBackend::new(2).unwrap();
    let mut target = function(2, &other);
    target.pause();
    target.restore(&state).unwrap();
    assert!(other.take_sent().is_empty());
    assert_eq!(target.snapshot(), state);
    target.resume();
    assert_eq!(other.take_sent().len(), 1);
    assert!(target.flush().is_ok());
}
