//! Saved and continued elsewhere: everything through serde, into a new device (C14).

use std::thread;

use serde_json::Value;
use vm_memory::GuestMemoryMmap;

use super::rig::{BUFFERS, DriverRing, Guest, Hands, NO_VECTOR, Slow};
use crate::virtio::saving::VirtioStateV1;

fn guest() -> (Guest<Slow>, Hands, DriverRing) {
    let (guest, hands, ring) = Guest::running();
    guest.set_config_vector(2);
    (guest, hands, ring)
}

fn save(guest: &Guest<Slow>) -> Value {
    guest.device.pause();
    serde_json::to_value(guest.device.save()).unwrap()
}

/// A new device over the same guest's memory.
fn new(memory: &GuestMemoryMmap) -> (Guest<Slow>, Hands) {
    let (device, hands) = Slow::new();
    (Guest::with_memory(device, 3, memory.clone()), hands)
}

fn restore(guest: &Guest<Slow>, state: Value) -> Result<(), String> {
    let state: VirtioStateV1<()> = serde_json::from_value(state).map_err(|e| e.to_string())?;
    guest.device.restore(state).map_err(|error| error.to_string())
}

#[test]
fn a_request_that_waits_is_served_where_the_device_goes_on() {
    let (old, hands, mut ring) = guest();
    ring.add(&[(BUFFERS, 1, false)]);
    ring.add(&[(BUFFERS, 1, false)]);
    old.kick(0);
    hands.begun.recv().unwrap();
    ring.add(&[(BUFFERS, 1, false)]);
    let state = thread::scope(|scope| {
        let saved = scope.spawn(|| save(&old));
        (0..3).for_each(|_| hands.end.send(()).unwrap());
        saved.join().unwrap()
    });
    // More comes while nobody serves.
    let before = ring.used_index();
    ring.add(&[(BUFFERS, 1, false)]);
    let delivered = old.sent();
    drop(old);

    let (new, hands) = new(&ring.memory);
    restore(&new, state).unwrap();
    assert_eq!(new.sent(), [0_u16; 0], "paused");
    new.device.resume();
    (before..4).for_each(|_| hands.end.send(()).unwrap());
    new.wait_used(&ring, 4);
    let after = new.sent();
    assert!(!after.is_empty() && after.iter().chain(&delivered).all(|vector| *vector == 1));
    assert_eq!(new.status(), 15);
    assert_eq!(new.read::<2>(new.common + 16), 2);
}

#[test]
fn a_pending_signal_travels() {
    let (old, hands, mut ring) = guest();
    old.msix().mask(1);
    ring.add(&[(BUFFERS, 1, false)]);
    old.kick(0);
    hands.end.send(()).unwrap();
    old.wait_used(&ring, 1);
    let state = save(&old);
    assert_eq!(old.sent(), [0_u16; 0]);

    let (new, _hands) = new(&old.memory);
    restore(&new, state).unwrap();
    new.device.resume();
    new.rest();
    assert_eq!(new.sent(), [0_u16; 0]);
    assert!(new.msix().is_pending(1));
    new.msix().unmask(1);
    assert_eq!(new.sent(), [1]);
    assert_eq!(ring.used_index(), 1, "what was served is not served again");
}

#[test]
fn intx_travels() {
    let (old, hands, mut ring) = guest();
    old.msix().disable();
    ring.add(&[(BUFFERS, 1, false)]);
    old.kick(0);
    hands.end.send(()).unwrap();
    old.wait_used(&ring, 1);
    let state = save(&old);

    let (new, _hands) = new(&old.memory);
    restore(&new, state).unwrap();
    assert_eq!(new.line.take(), 0, "paused");
    new.device.resume();
    assert_eq!(new.line.take(), 1);
    assert!(new.device.intx_cause().is_raised());
    assert_eq!(new.read::<1>(new.isr), 1);
}

#[test]
fn a_device_without_driver_travels() {
    let (device, _hands) = Slow::new();
    let old = Guest::new(device, 3);
    let state = save(&old);
    let (new, _hands) = new(&old.memory);
    restore(&new, state).unwrap();
    new.device.resume();
    assert_eq!(new.status(), 0);
    assert_eq!(new.set_config_vector(3), NO_VECTOR);
}

#[test]
fn c14_states_that_no_device_has_are_refused() {
    let (old, _hands, _ring) = guest();
    let good = save(&old);
    let set = |path: &str, value: Value| {
        let mut state = good.clone();
        *state.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        state
    };
    for (path, value) in [
        ("/config", Value::Array(vec![1.into()])),
        ("/registers/status", 7.into()),
        ("/registers/status", 0x4f.into()),
        ("/registers/driver_features", 2.into()),
        ("/registers/driver_features", 0.into()),
        ("/registers/queues/0/size", 0.into()),
        ("/registers/queues/0/size", 512.into()),
        ("/registers/queues/0/desc", 8.into()),
        ("/registers/queues/0/driver", u64::MAX.into()),
        ("/registers/queues/0/device", (1_u64 << 40).into()),
        ("/registers/queues", Value::Array(vec![])),
        ("/queues", Value::Array(vec![])),
        ("/queues/0/vector", 3.into()),
        ("/config_vector", 3.into()),
        ("/isr", 4.into()),
        ("/function/msix/device_name", "other".into()),
        ("/function/config/pci_id", 1.into()),
        ("/device", 1.into()),
    ] {
        let (new, _hands) = new(&old.memory);
        assert!(restore(&new, set(path, value.clone())).is_err(), "{path} = {value}");
    }
    let (new, _hands) = new(&old.memory);
    restore(&new, good.clone()).unwrap();
}
