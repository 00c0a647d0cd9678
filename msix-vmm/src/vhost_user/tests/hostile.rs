//! What a backend can do wrong, and that nobody else suffers (C10).

use super::backend::{
    Backend, GET_FEATURES, GET_QUEUE_NUM, GET_VRING_BASE, Ill, Manners, SET_VRING_CALL,
    SET_VRING_NUM, fill_and_block, signal,
};
use super::rig::{Guest, Machine};
use crate::virtio::tests::driver::wait_for;

/// The device says so, by a configuration interrupt, and a reset brings it to an end.
fn is_lost(guest: &Guest) {
    wait_for(|| guest.needs_reset());
    guest.apic().expect(0x40);
    guest.set_status(0);
    assert_eq!(guest.status(), 0);
    // There is nobody to serve a driver that tries again.
    guest.with_vectors();
    assert!(guest.needs_reset());
    guest.apic().expect(0x40);
}

#[test]
fn c10_a_backend_that_hangs_up_is_lost_and_another_device_goes_on() {
    let Some(machine) = Machine::new() else { return };
    let other = Guest::on(machine.clone(), Manners::GOOD);
    let mut rings = other.with_vectors();
    let guest = Guest::on(machine, Manners::GOOD);
    guest.with_vectors();
    guest.backend.hang_up();
    is_lost(&guest);
    other.complete(&mut rings[0], 0);
    other.apic().expect(0x41);
}

#[test]
fn c10_a_backend_that_says_what_nobody_asked_for_is_lost() {
    let Some(guest) = Guest::new() else { return };
    guest.with_vectors();
    guest.backend.blurt();
    is_lost(&guest);
}

#[test]
fn c10_a_backend_that_refuses_is_lost() {
    let Some(guest) = Guest::new() else { return };
    guest.backend.falls_ill(SET_VRING_NUM, Ill::Refusal);
    guest.with_vectors();
    is_lost(&guest);
}

#[test]
fn c10_a_backend_that_answers_a_change_of_vector_badly_is_lost() {
    for ill in [Ill::Mute, Ill::Nonsense, Ill::HangUp, Ill::Refusal] {
        let Some(guest) = Guest::new() else { return };
        guest.with_vectors();
        guest.backend.falls_ill(SET_VRING_CALL, ill);
        assert_eq!(guest.set_queue_vector(0, 2), 2);
        is_lost(&guest);
    }
}

#[test]
fn c10_a_reset_returns_whatever_the_backend_answers() {
    for ill in [Ill::Mute, Ill::Nonsense, Ill::HangUp] {
        let Some(guest) = Guest::new() else { return };
        guest.with_vectors();
        guest.backend.falls_ill(GET_VRING_BASE, ill);
        guest.set_status(0);
        assert_eq!(guest.status(), 0);
        guest.apic().clear();
        guest.with_vectors();
        assert!(guest.needs_reset());
    }
}

#[test]
fn c10_a_backend_that_goes_before_the_driver_is_ready_is_missed_then() {
    let Some(guest) = Guest::new() else { return };
    guest.backend.hang_up();
    wait_for(|| guest.device.server.is_lost());
    assert_eq!(guest.status(), 0);
    guest.with_vectors();
    is_lost(&guest);
}

#[test]
fn c10_without_msix_a_lost_backend_raises_the_pin() {
    let Some(guest) = Guest::new() else { return };
    guest.start(1);
    guest.backend.hang_up();
    wait_for(|| guest.needs_reset());
    assert_eq!((guest.line.take(), guest.read::<1>(guest.isr)), (1, 2));
}

#[test]
fn c10_a_full_and_blocking_call_holds_nobody_up() {
    let Some(guest) = Guest::new() else { return };
    guest.with_vectors();
    guest.msix().mask(1);
    fill_and_block(&guest.backend.call(0));
    assert!(guest.msix().is_pending(1));
    guest.msix().unmask(1);
    guest.apic().expect(0x41);
    fill_and_block(&guest.backend.call(0));
    guest.set_queue_vector(0, 2);
    guest.msix().mask(1);
    guest.set_status(0);
    assert_eq!(guest.status(), 0);
}

#[test]
fn c10_a_full_and_blocking_kick_holds_nobody_up() {
    let Some(guest) = Guest::new() else { return };
    guest.with_vectors();
    fill_and_block(&guest.backend.kick(0));
    guest.kick(0);
    guest.kick(0);
    guest.set_status(0);
    assert_eq!(guest.status(), 0);
}

#[test]
fn c10_a_lost_backend_that_floods_reaches_nobody_after_the_reset() {
    let Some(guest) = Guest::new() else { return };
    guest.with_vectors();
    let call = guest.backend.call(0);
    guest.backend.hang_up();
    wait_for(|| guest.needs_reset());
    guest.set_status(0);
    guest.apic().clear();
    for _ in 0..1000 {
        signal(&call);
    }
    guest.apic().expect_nothing();
    assert!(!guest.msix().is_pending(1));
}

#[test]
fn c10_a_device_goes_though_its_backend_is_mute() {
    let Some(guest) = Guest::new() else { return };
    guest.with_vectors();
    guest.backend.falls_ill(GET_VRING_BASE, Ill::Mute);
    fill_and_block(&guest.backend.kick(0));
    guest.kick(0);
    drop(guest);
}

#[test]
fn c10_a_backend_that_does_not_begin_as_it_should_is_no_device() {
    let Some(machine) = Machine::new() else { return };
    let refused = |manners, ill: Option<(u32, Ill)>| {
        let backend = Backend::new(manners);
        if let Some((request, ill)) = ill {
            backend.falls_ill(request, ill);
        }
        machine.connect(&backend, "rng").err().unwrap().to_string()
    };
    let error = refused(Manners::GOOD, Some((GET_FEATURES, Ill::Mute)));
    assert!(error.contains("does not answer"), "{error}");
    for ill in [Ill::Nonsense, Ill::HangUp] {
        refused(Manners::GOOD, Some((GET_QUEUE_NUM, ill)));
    }
    let legacy = Manners { features: 1 << 30, ..Manners::GOOD };
    assert!(refused(legacy, None).contains("older than virtio 1.0"));
    for queues in [0, 65, 256] {
        let error = refused(Manners { queues, ..Manners::GOOD }, None);
        assert!(error.contains(&format!("{queues} queues")), "{error}");
    }
}
