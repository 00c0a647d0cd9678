//! C11 in signal mode: messages that the sender refuses, sends that fail.

use std::sync::Arc;

use crate::support::guest::{
    DATA, ENABLE, NONE, bring_up, control, function, mask, message, pending, program_all, unmask,
    unsynced, write_dword,
};
use crate::support::host::Wire;
use vm_msix::{MsiMessage, Signal};

#[test]
fn c11_a_message_that_the_sender_refuses_leaves_the_vector_closed_and_latching() {
    let wire = Arc::<Wire>::default();
    wire.refuse(message(1));
    let mut msix = function(2, wire.signal_mode());
    bring_up(&mut msix);
    assert_eq!(unsynced(&msix), [1]);
    assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(wire.take_sent(), [(0, message(0))]);
    control(&mut msix, ENABLE);
    assert_eq!(unsynced(&msix), [1]);
    write_dword(&mut msix, 1, DATA, 0x99);
    assert_eq!(unsynced(&msix), NONE);
    assert_eq!(wire.take_sent(), [(1, MsiMessage { data: 0x99, ..message(1) })]);
}

#[test]
fn c11_a_refused_rewrite_of_an_open_vector_closes_it() {
    let wire = Arc::<Wire>::default();
    let refused = MsiMessage { data: 0x99, ..message(0) };
    wire.refuse(refused);
    let mut msix = function(1, wire.signal_mode());
    bring_up(&mut msix);
    write_dword(&mut msix, 0, DATA, 0x99);
    assert_eq!(unsynced(&msix), [0]);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    assert_eq!(wire.take_sent(), [], "neither the old message nor the new one");
}

#[test]
fn c11_a_delivery_that_fails_is_kept_for_the_next_write_of_message_control() {
    let wire = Arc::<Wire>::default();
    let mut msix = function(2, wire.signal_mode());
    program_all(&mut msix);
    msix.trigger(0).unwrap();
    msix.trigger(1).unwrap();
    wire.fail_next_sends(1);
    control(&mut msix, ENABLE);
    assert_eq!(wire.take_sent(), [(1, message(1))]);
    assert_eq!(unsynced(&msix), [0]);
    assert!(pending(&msix, 0));
    mask(&mut msix, 0);
    unmask(&mut msix, 0);
    assert_eq!(wire.take_sent(), []);
    control(&mut msix, ENABLE);
    assert_eq!(wire.take_sent(), [(0, message(0))]);
    assert_eq!(unsynced(&msix), NONE);
}
