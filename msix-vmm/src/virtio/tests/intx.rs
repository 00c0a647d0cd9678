//! The pin, while MSI-X is not enabled (virtio 1.2, 4.1.4.5 and 4.1.5.3; C6).

use super::rig::{DriverRing, Guest, Hands, Slow, wait_for};

/// Command: memory and bus mastering, with INTx or without.
const INTX_ALLOWED: u16 = 0x0006;
const INTX_DISABLED: u16 = 0x0406;

fn guest() -> (Guest<Slow>, Hands, DriverRing) {
    let (device, hands) = Slow::new();
    let guest = Guest::new(device, 3);
    let ring = guest.start(1).remove(0);
    (guest, hands, ring)
}

fn interrupt_status(guest: &Guest<Slow>) -> bool {
    guest.read_config::<2>(6) & 8 != 0
}

#[test]
fn c6_without_msix_a_completion_raises_the_pin_until_isr_is_read() {
    let (guest, hands, mut ring) = guest();
    let cause = guest.device.intx_cause();
    assert!(!cause.is_raised());
    guest.complete(&hands, &mut ring, 0);
    assert_eq!(guest.line.take(), 1);
    assert!(cause.is_raised() && interrupt_status(&guest));
    assert_eq!(guest.read::<1>(guest.isr), 1);
    assert!(!cause.is_raised() && !interrupt_status(&guest));
    assert_eq!(guest.read::<1>(guest.isr), 0, "a read clears it");
    assert_eq!(guest.sent(), [0_u16; 0]);
}

#[test]
fn c6_with_msix_neither_pin_nor_isr_know_of_a_completion() {
    let (guest, hands, mut ring) = guest();
    guest.bring_up(3);
    guest.set_queue_vector(0, 1);
    guest.complete(&hands, &mut ring, 0);
    assert_eq!(guest.sent(), [1]);
    assert_eq!(guest.line.take(), 0);
    assert_eq!(guest.read::<1>(guest.isr), 0);
    guest.msix().disable();
    guest.complete(&hands, &mut ring, 0);
    assert_eq!((guest.sent(), guest.line.take()), (vec![], 1));
}

#[test]
fn enabling_msix_lets_the_pin_fall() {
    let (guest, hands, mut ring) = guest();
    guest.complete(&hands, &mut ring, 0);
    let cause = guest.device.intx_cause();
    assert!(cause.is_raised());
    guest.msix().enable();
    assert!(!cause.is_raised() && !interrupt_status(&guest));
}

#[test]
fn interrupt_disable_keeps_the_pin_low_and_status_shows_the_cause() {
    let (guest, hands, mut ring) = guest();
    guest.write_config(4, INTX_DISABLED);
    guest.complete(&hands, &mut ring, 0);
    assert_eq!(guest.line.take(), 0);
    assert!(!guest.device.intx_cause().is_raised());
    assert!(interrupt_status(&guest));
    guest.write_config(4, INTX_ALLOWED);
    assert_eq!(guest.line.take(), 1);
    assert!(guest.device.intx_cause().is_raised());
}

#[test]
fn a_device_that_needs_a_reset_says_so_in_isr() {
    let (guest, _hands, ring) = guest();
    ring.set_available(1000);
    guest.kick(0);
    wait_for(|| guest.status() & 64 != 0);
    guest.rest();
    assert_eq!(guest.line.take(), 1);
    assert_eq!(guest.read::<1>(guest.isr), 2);
}

#[test]
fn reset_ends_the_interrupt() {
    let (guest, hands, mut ring) = guest();
    guest.complete(&hands, &mut ring, 0);
    guest.set_status(0);
    assert!(!guest.device.intx_cause().is_raised());
    assert_eq!(guest.read::<1>(guest.isr), 0);
}
