//! The pin, while MSI-X is not enabled (C6).

use super::backend::{GET_VRING_BASE, Ill, fill_and_block};
use super::rig::Guest;

#[test]
fn c6_without_msix_a_completion_raises_the_pin_until_isr_is_read() {
    let Some(guest) = Guest::new() else { return };
    let mut rings = guest.start(1);
    let (cause, call) = (guest.device.intx_cause(), guest.backend.call(0));
    assert!(!cause.is_raised());
    guest.complete(&mut rings[0], 0);
    guest.heard(&call);
    assert_eq!(guest.line.take(), 1);
    assert!(cause.is_raised());
    assert_eq!(guest.read::<1>(guest.isr), 1);
    assert!(!cause.is_raised());
    guest.apic().expect_nothing();
}

#[test]
fn c6_enabling_msix_while_it_runs_changes_to_the_vector_and_back() {
    let Some(guest) = Guest::new() else { return };
    let mut rings = guest.with_vectors();
    guest.msix().disable();
    let call = guest.backend.call(0);
    guest.complete(&mut rings[0], 0);
    guest.heard(&call);
    assert_eq!((guest.line.take(), guest.read::<1>(guest.isr)), (1, 1));
    assert!(!guest.msix().is_pending(1));
    guest.msix().enable();
    guest.apic().expect_nothing();
    guest.complete(&mut rings[0], 0);
    guest.apic().expect(0x41);
    assert_eq!((guest.line.take(), guest.read::<1>(guest.isr)), (0, 0));
}

#[test]
fn c3_what_was_used_just_before_the_queues_stop_for_a_while_is_told() {
    let Some(guest) = Guest::new() else { return };
    let _rings = guest.start(1);
    guest.backend.falls_ill(GET_VRING_BASE, Ill::LastWord);
    guest.write_config(4, 2_u16);
    assert_eq!((guest.line.take(), guest.read::<1>(guest.isr)), (1, 1));
}

#[test]
fn c7_what_was_used_just_before_a_reset_is_not() {
    let Some(guest) = Guest::new() else { return };
    let _rings = guest.start(1);
    guest.backend.falls_ill(GET_VRING_BASE, Ill::LastWord);
    guest.set_status(0);
    assert_eq!((guest.line.take(), guest.read::<1>(guest.isr)), (0, 0));
}

#[test]
fn c10_a_full_and_blocking_eventfd_is_a_completion() {
    let Some(guest) = Guest::new() else { return };
    let _rings = guest.start(1);
    let call = guest.backend.call(0);
    for _ in 0..3 {
        fill_and_block(&call);
        guest.heard(&call);
        assert_eq!(guest.read::<1>(guest.isr), 1);
    }
}
