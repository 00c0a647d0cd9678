//! Which eventfd the backend has while it runs: the one of the vector that the queue has now (C13).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::backend::{CONFIG, MQ, Manners, SET_VRING_CALL, signal};
use super::rig::{Guest, Stop};
use crate::virtio::NO_VECTOR;

/// Backends that acknowledge, and those that only answer in order.
fn guests() -> impl Iterator<Item = Guest> {
    let plain = Manners { protocol: MQ | CONFIG, ..Manners::GOOD };
    [Manners::GOOD, plain].into_iter().filter_map(Guest::with)
}

#[test]
fn c13_a_queue_that_gets_another_vector_signals_that() {
    for guest in guests() {
        let mut rings = guest.with_vectors();
        assert_eq!(guest.set_queue_vector(0, 2), 2);
        guest.complete(&mut rings[0], 0);
        guest.apic().expect(0x42);
        assert_eq!(guest.set_queue_vector(0, 1), 1);
        guest.complete(&mut rings[0], 0);
        guest.apic().expect(0x41);
    }
}

#[test]
fn c13_after_the_change_nothing_comes_by_the_old_vector() {
    for guest in guests() {
        let _rings = guest.with_vectors();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = Stop(&done);
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    guest.backend.signal(0);
                }
            });
            for vector in [2, 1].into_iter().cycle().take(40) {
                guest.set_queue_vector(0, vector);
                guest.apic().clear();
                guest.apic().expect(0x40 + vector as u8);
            }
        });
    }
}

#[test]
fn c13_what_pends_stays_with_the_vector_that_it_was_for() {
    for guest in guests() {
        let mut rings = guest.with_vectors();
        guest.msix().mask(1);
        guest.complete(&mut rings[0], 0);
        guest.set_queue_vector(0, 2);
        guest.complete(&mut rings[0], 0);
        guest.apic().expect(0x42);
        assert!(guest.msix().is_pending(1));
        guest.msix().unmask(1);
        guest.apic().expect(0x41);
    }
}

#[test]
fn queues_share_a_vector_if_they_are_told_to() {
    let Some(guest) = Guest::new() else { return };
    let mut rings = guest.with_vectors();
    guest.set_queue_vector(1, 1);
    guest.complete(&mut rings[1], 1);
    guest.apic().expect(0x41);
    guest.complete(&mut rings[0], 0);
    guest.apic().expect(0x41);
    guest.set_queue_vector(0, 2);
    guest.complete(&mut rings[1], 1);
    guest.apic().expect(0x41);
}

#[test]
fn a_queue_without_vector_signals_nothing() {
    for guest in guests() {
        let mut rings = guest.with_vectors();
        assert_eq!(guest.set_queue_vector(0, NO_VECTOR), NO_VECTOR);
        let call = guest.backend.call(0);
        guest.complete(&mut rings[0], 0);
        guest.heard(&call);
        guest.apic().expect_nothing();
        assert!(!guest.msix().is_pending(1));
        assert_eq!((guest.line.take(), guest.read::<1>(guest.isr)), (0, 0));
        guest.set_queue_vector(0, 1);
        guest.apic().expect_nothing();
        guest.complete(&mut rings[0], 0);
        guest.apic().expect(0x41);
    }
}

#[test]
fn a_vector_out_of_range_reads_back_as_no_vector() {
    let Some(guest) = Guest::new() else { return };
    let mut rings = guest.with_vectors();
    for refused in [3, 2048, 0xfffe] {
        assert_eq!(guest.set_queue_vector(0, refused), NO_VECTOR);
        assert_eq!(guest.set_queue_vector(7, refused), NO_VECTOR);
    }
    let call = guest.backend.call(0);
    guest.complete(&mut rings[0], 0);
    guest.heard(&call);
    guest.apic().expect_nothing();
}

#[test]
fn the_same_vector_again_is_no_change() {
    let Some(guest) = Guest::new() else { return };
    let _rings = guest.with_vectors();
    let before = guest.backend.asked(SET_VRING_CALL);
    guest.set_queue_vector(0, 1);
    assert_eq!(guest.backend.asked(SET_VRING_CALL), before);
}

#[test]
fn c13_the_descriptor_of_before_is_nobody_s() {
    let Some(guest) = Guest::new() else { return };
    let _rings = guest.with_vectors();
    let before = guest.backend.call(0);
    guest.set_queue_vector(0, 2);
    signal(&before);
    guest.apic().expect_nothing();
    assert!(!guest.msix().is_pending(1));
}
