//! What the backend signals obeys masks, and shows in the PBA (C3, C4, C13).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::backend::signal;
use super::rig::{Guest, Stop};
use crate::virtio::tests::driver::{message, wait_for};

#[test]
fn a_completion_comes_by_the_queue_s_vector() {
    let Some(guest) = Guest::new() else { return };
    let mut rings = guest.with_vectors();
    guest.complete(&mut rings[0], 0);
    guest.apic().expect(0x41);
    guest.complete(&mut rings[1], 1);
    guest.apic().expect(0x42);
    assert_eq!(guest.line.take(), 0);
    assert_eq!(guest.read::<1>(guest.isr), 0);
}

#[test]
fn c13_completions_under_the_mask_bit_pend_and_come_once() {
    let Some(guest) = Guest::new() else { return };
    let mut rings = guest.with_vectors();
    guest.msix().mask(1);
    guest.complete(&mut rings[0], 0);
    guest.complete(&mut rings[0], 0);
    for _ in 0..3 {
        assert!(guest.msix().is_pending(1));
    }
    assert!(!guest.msix().is_pending(0) && !guest.msix().is_pending(2));
    guest.apic().expect_nothing();
    guest.msix().unmask(1);
    assert!(!guest.msix().is_pending(1));
    guest.apic().expect(0x41);
    guest.msix().mask(1);
    assert!(!guest.msix().is_pending(1));
    guest.msix().unmask(1);
    guest.msix().mask(1);
    guest.apic().expect_nothing();
}

#[test]
fn c13_the_same_under_function_mask() {
    let Some(guest) = Guest::new() else { return };
    let mut rings = guest.with_vectors();
    guest.msix().mask_function();
    guest.complete(&mut rings[0], 0);
    assert!(guest.msix().is_pending(1));
    guest.apic().expect_nothing();
    guest.msix().unmask_function();
    guest.apic().expect(0x41);
}

#[test]
fn c13_what_pends_goes_where_the_vector_has_moved() {
    let Some(guest) = Guest::new() else { return };
    let mut rings = guest.with_vectors();
    guest.msix().mask(1);
    guest.complete(&mut rings[0], 0);
    guest.msix().program(1, message(7));
    guest.msix().unmask(1);
    guest.apic().expect(0x47);
}

#[test]
fn c4_a_mask_holds_for_a_backend_that_does_not_stop() {
    let Some(guest) = Guest::new() else { return };
    let _rings = guest.with_vectors();
    let call = guest.backend.call(0);
    let (written, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let _stop = Stop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                signal(&call);
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..50 {
            guest.msix().mask(1);
            guest.apic().clear();
            let before = written.load(Ordering::Relaxed);
            // The second one began after this look.
            wait_for(|| written.load(Ordering::Relaxed) >= before + 2);
            guest.apic().expect_nothing();
            assert!(guest.msix().is_pending(1));
            guest.msix().unmask(1);
            guest.apic().expect(0x41);
        }
    });
}
