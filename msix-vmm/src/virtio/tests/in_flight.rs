//! Reset and pause while a request is being served.

use std::thread;

use super::rig::{BUFFERS, DriverRing, Guest, wait_for};
use crate::virtio::gate::Hold;

#[test]
fn a_turn_ends_and_what_came_meanwhile_is_served_without_a_kick() {
    let (guest, hands, mut ring) = Guest::running();
    (0..DriverRing::SIZE).for_each(|_| ring.add(&[(BUFFERS, 1, false)]));
    guest.kick(0);
    hands.end.send(()).unwrap();
    wait_for(|| ring.used_index() == 1);
    ring.add(&[(BUFFERS, 1, false)]);
    (0..DriverRing::SIZE).for_each(|_| hands.end.send(()).unwrap());
    guest.wait_used(&ring, DriverRing::SIZE + 1);
    assert_eq!(guest.sent(), [1, 1], "one for each turn");
}

#[test]
fn reset_waits_for_the_request_and_leaves_nothing_of_it() {
    let (guest, hands, mut ring) = Guest::running();
    guest.msix().mask(1);
    ring.add(&[(BUFFERS, 1, false)]);
    ring.add(&[(BUFFERS, 1, false)]);
    guest.kick(0);
    hands.begun.recv().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| guest.set_status(0));
        hands.end.send(()).unwrap();
        hands.end.send(()).unwrap();
    });
    let at_reset = ring.used_index();
    assert!(at_reset >= 1, "the request that had begun was done before the write returned");
    assert_eq!(guest.status(), 0);
    assert!(!guest.msix().is_pending(1), "what was latched is of a driver that has gone (C6)");
    guest.msix().unmask(1);
    guest.kick(0);
    guest.rest();
    assert_eq!(ring.used_index(), at_reset);
    assert_eq!(guest.sent(), [0_u16; 0]);
}

#[test]
fn a_driver_goes_on_after_the_reset() {
    let (guest, hands, mut ring) = Guest::running();
    ring.add(&[(BUFFERS, 1, false)]);
    guest.kick(0);
    hands.begun.recv().unwrap();
    hands.end.send(()).unwrap();
    guest.set_status(0);
    guest.sent();
    // Its ring starts from nothing.
    guest.memory.clone().zero(ring.base);
    let mut ring = guest.start(1).remove(0);
    guest.set_queue_vector(0, 2);
    ring.add(&[(BUFFERS, 1, false)]);
    guest.kick(0);
    hands.end.send(()).unwrap();
    guest.wait_used(&ring, 1);
    assert_eq!(guest.sent(), [2]);
}

#[test]
fn pause_waits_for_the_request_and_its_interrupt_pends() {
    let (guest, hands, mut ring) = Guest::running();
    ring.add(&[(BUFFERS, 1, false)]);
    guest.kick(0);
    hands.begun.recv().unwrap();
    guest.msix().mask(1);
    thread::scope(|scope| {
        scope.spawn(|| guest.device.pause());
        hands.end.send(()).unwrap();
    });
    assert_eq!(ring.used_index(), 1);
    assert!(guest.msix().is_pending(1));
    ring.add(&[(BUFFERS, 1, false)]);
    guest.kick(0);
    assert!(hands.begun.try_recv().is_err(), "a paused device serves nothing");
    guest.device.resume();
    hands.begun.recv().unwrap();
    hands.end.send(()).unwrap();
    wait_for(|| ring.used_index() == 2);
    guest.device.server.engine.gate.hold(Hold::Paused);
    guest.msix().unmask(1);
    assert_eq!(guest.sent(), [1]);
}

#[test]
fn what_was_served_before_the_pause_has_been_sent() {
    let (guest, hands, mut ring) = Guest::running();
    ring.add(&[(BUFFERS, 1, false)]);
    guest.kick(0);
    hands.begun.recv().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            wait_for(|| guest.device.server.engine.gate.is_paused());
            hands.end.send(()).unwrap();
        });
        guest.device.pause();
        assert_eq!(guest.sent(), [1], "while the pause waited for it");
    });
}

/// Guest memory that is used anew.
trait Zero {
    fn zero(self, base: u64);
}

impl Zero for vm_memory::GuestMemoryMmap {
    fn zero(self, base: u64) {
        use vm_memory::{Bytes, GuestAddress};
        self.write_slice(&[0; 0x3000], GuestAddress(base)).unwrap();
    }
}
