//! Which vector a queue and a configuration change have (virtio 1.2, 4.1.5.1.2).

use super::rig::{BUFFERS, Guest, Hands, NO_VECTOR, Slow};

fn guest(vectors: u16) -> (Guest<Slow>, Hands) {
    let (device, hands) = Slow::new();
    let guest = Guest::new(device, vectors);
    guest.bring_up(vectors);
    (guest, hands)
}

#[test]
fn each_queue_signals_the_vector_that_it_was_given() {
    let (guest, hands) = guest(3);
    assert_eq!(guest.set_queue_vector(0, 2), 2);
    assert_eq!(guest.set_queue_vector(1, 1), 1);
    let mut rings = guest.start(2);
    guest.complete(&hands, &mut rings[0], 0);
    assert_eq!(guest.sent(), [2]);
    guest.complete(&hands, &mut rings[1], 1);
    assert_eq!(guest.sent(), [1]);
}

#[test]
fn queues_share_a_vector_if_they_are_told_to() {
    let (guest, hands) = guest(1);
    assert_eq!(guest.set_queue_vector(0, 0), 0);
    assert_eq!(guest.set_queue_vector(1, 0), 0);
    let mut rings = guest.start(2);
    guest.complete(&hands, &mut rings[0], 0);
    guest.complete(&hands, &mut rings[1], 1);
    assert_eq!(guest.sent(), [0, 0]);
}

#[test]
fn a_queue_without_vector_signals_nothing() {
    let (guest, hands) = guest(3);
    let mut rings = guest.start(1);
    guest.complete(&hands, &mut rings[0], 0);
    assert_eq!(guest.sent(), [0_u16; 0]);
    assert_eq!(guest.set_queue_vector(0, 1), 1);
    assert_eq!(guest.set_queue_vector(0, NO_VECTOR), NO_VECTOR);
    guest.complete(&hands, &mut rings[0], 0);
    assert_eq!(guest.sent(), [0_u16; 0]);
    assert_eq!(guest.line.take(), 0, "MSI-X is enabled, so that the pin is not an alternative");
}

#[test]
fn a_vector_out_of_range_reads_back_as_no_vector() {
    let (guest, hands) = guest(3);
    for refused in [3, 4, 2048, 0xfffe] {
        assert_eq!(guest.set_queue_vector(0, 1), 1);
        assert_eq!(guest.set_queue_vector(0, refused), NO_VECTOR);
        assert_eq!(guest.set_config_vector(0), 0);
        assert_eq!(guest.set_config_vector(refused), NO_VECTOR);
    }
    let mut rings = guest.start(1);
    guest.complete(&hands, &mut rings[0], 0);
    assert_eq!(guest.sent(), [0_u16; 0]);
}

#[test]
fn a_queue_that_is_not_there_has_no_vector() {
    let (guest, _hands) = guest(3);
    assert_eq!(guest.set_queue_vector(2, 1), NO_VECTOR);
    assert_eq!(guest.set_queue_vector(0xffff, 1), NO_VECTOR);
}

#[test]
fn the_vector_of_the_moment_of_completion_is_signalled() {
    let (guest, hands) = guest(3);
    guest.set_queue_vector(0, 1);
    let mut rings = guest.start(1);
    rings[0].add(&[(BUFFERS, 1, false)]);
    guest.kick(0);
    hands.begun.recv().unwrap();
    assert_eq!(guest.set_queue_vector(0, 2), 2);
    hands.end.send(()).unwrap();
    guest.wait_used(&rings[0], 1);
    assert_eq!(guest.sent(), [2]);
}

#[test]
fn a_pending_signal_stays_with_the_vector_that_it_was_for() {
    let (guest, hands) = guest(3);
    guest.set_queue_vector(0, 1);
    let mut rings = guest.start(1);
    guest.msix().mask(1);
    guest.complete(&hands, &mut rings[0], 0);
    guest.set_queue_vector(0, 2);
    guest.complete(&hands, &mut rings[0], 0);
    assert_eq!(guest.sent(), [2]);
    guest.msix().unmask(1);
    assert_eq!(guest.sent(), [1]);
}

#[test]
fn the_configuration_vector_tells_that_a_reset_is_needed() {
    let (guest, _hands) = guest(3);
    guest.set_config_vector(0);
    guest.set_queue_vector(0, 1);
    let rings = guest.start(1);
    rings[0].set_available(1000);
    guest.kick(0);
    super::rig::wait_for(|| guest.status() & 64 != 0);
    guest.rest();
    assert_eq!(guest.sent(), [0]);
}
