//! Beginning, stopping and going on.

use super::backend::{GET_VRING_BASE, Manners, VERSION_1, signal};
use super::rig::{Guest, Machine};
use crate::virtio::NO_VECTOR;

#[test]
fn the_configuration_is_the_backend_s() {
    let Some(guest) = Guest::new() else { return };
    assert_eq!(guest.read::<4>(guest.config), 0x0302_0100);
    assert_eq!(guest.read::<4>(guest.config + 8), 0x0b0a_0908);
    assert_eq!(guest.read::<4>(guest.config + 12), 0);
}

#[test]
fn features_are_what_both_know() {
    let Some(guest) = Guest::with(Manners { features: u64::MAX, ..Manners::GOOD }) else {
        return;
    };
    let packed_ring = 1 << 34;
    let log_all = 1 << 26;
    let protocol_features = 1 << 30;
    let offered = guest.features();
    assert_eq!(offered & (packed_ring | log_all | protocol_features), 0);
    assert_ne!(offered & VERSION_1, 0);
    assert_ne!(offered & 1, 0, "the device's own");
}

#[test]
fn a_backend_without_any_protocol_features_does() {
    let manners = Manners { features: VERSION_1, protocol: 0, queues: 0 };
    let Some(guest) = Guest::with(manners) else { return };
    let mut rings = guest.with_vectors();
    guest.complete(&mut rings[0], 0);
    guest.apic().expect(0x41);
}

#[test]
fn a_reset_stops_the_queues_and_what_is_signalled_later_reaches_nobody() {
    let Some(guest) = Guest::new() else { return };
    let mut rings = guest.with_vectors();
    let call = guest.backend.call(0);
    guest.msix().mask(1);
    guest.complete(&mut rings[0], 0);
    guest.set_status(0);
    assert_eq!(guest.status(), 0);
    assert_eq!(guest.backend.asked(GET_VRING_BASE), 2);
    signal(&call);
    assert!(!guest.msix().is_pending(1));
    guest.msix().unmask(1);
    guest.apic().expect_nothing();
    assert_eq!((guest.line.take(), guest.read::<1>(guest.isr)), (0, 0));
    assert_eq!(guest.read::<2>(guest.common + 16) as u16, NO_VECTOR);
}

#[test]
fn after_a_reset_it_begins_anew() {
    let Some(guest) = Guest::new() else { return };
    let mut rings = guest.with_vectors();
    guest.complete(&mut rings[0], 0);
    guest.apic().expect(0x41);
    guest.set_status(0);
    // As a driver that clears its rings.
    rings[0].clear();
    let mut rings = guest.with_vectors();
    assert_eq!(guest.backend.next(0), 0);
    guest.complete(&mut rings[0], 0);
    guest.apic().expect(0x41);
}

#[test]
fn c1_without_bus_mastering_the_queues_stop_and_go_on_where_they_were() {
    let Some(guest) = Guest::new() else { return };
    let mut rings = guest.with_vectors();
    guest.complete(&mut rings[0], 0);
    guest.apic().expect(0x41);
    guest.write_config(4, 2_u16);
    assert_eq!(guest.backend.asked(GET_VRING_BASE), 2);
    guest.write_config(4, 6_u16);
    assert_eq!(guest.backend.next(0), 1);
    guest.complete(&mut rings[0], 0);
    guest.apic().expect(0x41);
}

#[test]
fn a_kick_reaches_the_backend() {
    let Some(guest) = Guest::new() else { return };
    let _rings = guest.with_vectors();
    for queue in 0..2 {
        let kick = guest.backend.kick(queue);
        // The one of the start.
        crate::virtio::tests::driver::wait_for(|| super::backend::is_signalled(&kick));
        rustix::io::read(&kick, &mut [0; 8]).unwrap();
        guest.kick(queue as u16);
        crate::virtio::tests::driver::wait_for(|| super::backend::is_signalled(&kick));
    }
}

#[test]
fn nobody_listens_at_a_socket_that_is_not_there() {
    let Some(machine) = Machine::new() else { return };
    let backend = super::backend::Backend::new(Manners::GOOD);
    std::fs::remove_file(backend.path()).unwrap();
    let error = machine.connect(&backend, "rng").err().unwrap().to_string();
    assert!(error.contains("No such file"), "{error}");
}
