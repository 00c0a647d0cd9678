//! Masks while queues complete (C3, C4).

use super::rig::{BUFFERS, Guest, message};

#[test]
fn c3_completions_under_the_mask_bit_pend_and_come_once() {
    let (guest, hands, mut ring) = Guest::running();
    guest.msix().mask(1);
    guest.complete(&hands, &mut ring, 0);
    guest.complete(&hands, &mut ring, 0);
    assert_eq!(guest.sent(), [0_u16; 0]);
    assert!(guest.msix().is_pending(1));
    assert!(!guest.msix().is_pending(0));
    guest.msix().unmask(1);
    assert_eq!(guest.sent(), [1]);
    assert!(!guest.msix().is_pending(1));
}

#[test]
fn c3_the_same_under_function_mask() {
    let (guest, hands, mut ring) = Guest::running();
    guest.msix().mask_function();
    guest.complete(&hands, &mut ring, 0);
    assert_eq!(guest.sent(), [0_u16; 0]);
    assert!(guest.msix().is_pending(1));
    guest.msix().unmask_function();
    assert_eq!(guest.sent(), [1]);
}

#[test]
fn c3_a_vector_that_moves_while_pending_delivers_to_its_new_place() {
    let (guest, hands, mut ring) = Guest::running();
    guest.msix().mask(1);
    guest.complete(&hands, &mut ring, 0);
    guest.msix().program(1, message(7));
    guest.msix().unmask(1);
    assert_eq!(guest.backend.take_sent(), [(1, message(7))]);
}

#[test]
fn c4_a_request_in_flight_when_the_vector_is_masked_pends() {
    let (guest, hands, mut ring) = Guest::running();
    ring.add(&[(BUFFERS, 1, false)]);
    guest.kick(0);
    hands.begun.recv().unwrap();
    guest.msix().mask(1);
    hands.end.send(()).unwrap();
    guest.wait_used(&ring, 1);
    assert_eq!(guest.sent(), [0_u16; 0]);
    assert!(guest.msix().is_pending(1));
}

#[test]
fn c1_without_bus_mastering_a_completion_pends() {
    let (guest, hands, mut ring) = Guest::running();
    ring.add(&[(BUFFERS, 1, false)]);
    guest.kick(0);
    hands.begun.recv().unwrap();
    // The register write waits for the request, so that another thread lets it end.
    std::thread::scope(|scope| {
        scope.spawn(|| guest.write_config(4, 2_u16));
        hands.end.send(()).unwrap();
    });
    guest.wait_used(&ring, 1);
    let delivered = guest.sent();
    let pending = guest.msix().is_pending(1);
    guest.write_config(4, 6_u16);
    // Before or after the write: but once.
    assert_eq!(delivered.is_empty(), pending);
    assert_eq!([delivered, guest.sent()].concat(), [1]);
}
