//! Finding the device, features and status (virtio 1.2: 2.1, 2.2, 3.1.1, 4.1.2, 4.1.4).

use super::rig::{DriverRing, Guest, INDIRECT_DESC, NO_VECTOR, Slow, VERSION_1};

fn guest() -> Guest<Slow> {
    Guest::new(Slow::new().0, 3)
}

#[test]
fn a_driver_finds_a_modern_device() {
    let guest = guest();
    assert_eq!(guest.read_config::<4>(0), 0x106a_1af4);
    assert_eq!(guest.read_config::<1>(8), 1, "revision");
    assert_eq!(guest.read_config::<1>(0x3d), 1, "INTA#");
    assert_ne!(guest.window, 0);
    assert_eq!(guest.read::<2>(guest.common + 18), 2, "queues");
    assert_eq!(guest.read::<4>(guest.config), 0x0003_0201, "what is behind its end is zero");
    assert_eq!(guest.features(), 1 | VERSION_1 | INDIRECT_DESC | 1 << 29);
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let guest = guest();
    guest.set_status(3);
    guest.accept(VERSION_1 | 2);
    guest.set_status(3 | 8);
    assert_eq!(guest.status(), 3);
    guest.accept(VERSION_1 | 1);
    guest.set_status(3 | 8);
    assert_eq!(guest.status(), 3 | 8);
}

#[test]
fn a_legacy_driver_is_refused() {
    let guest = guest();
    guest.accept(1);
    guest.set_status(3 | 8 | 4);
    assert_eq!(guest.status(), 3);
}

#[test]
fn features_are_settled_by_features_ok() {
    let guest = guest();
    guest.accept(VERSION_1);
    guest.set_status(3 | 8);
    guest.accept(VERSION_1 | 1);
    guest.write(guest.common + 8, 0_u32);
    assert_eq!(guest.read::<4>(guest.common + 12), 0);
}

#[test]
fn driver_ok_needs_features_ok_and_queues_need_it_too() {
    let guest = guest();
    guest.set_status(3 | 4);
    assert_eq!(guest.status(), 3);
    guest.write(guest.common + 28, 1_u16);
    assert_eq!(guest.read::<2>(guest.common + 28), 0);
}

#[test]
fn nothing_is_served_before_driver_ok() {
    let (device, hands) = Slow::new();
    let guest = Guest::new(device, 3);
    guest.accept(VERSION_1);
    guest.set_status(3 | 8);
    let mut ring = guest.enable_queue(0);
    ring.add(&[(0x8_0000, 1, false)]);
    guest.kick(0);
    guest.rest();
    assert!(hands.begun.try_recv().is_err());
    guest.set_status(3 | 8 | 4);
    hands.begun.recv().unwrap();
    hands.end.send(()).unwrap();
    guest.wait_used(&ring, 1);
}

#[test]
fn without_bus_mastering_nothing_is_served() {
    let (device, hands) = Slow::new();
    let guest = Guest::new(device, 3);
    let mut rings = guest.start(1);
    guest.write_config(4, 2_u16);
    rings[0].add(&[(0x8_0000, 1, false)]);
    guest.kick(0);
    guest.rest();
    assert!(hands.begun.try_recv().is_err());
    guest.write_config(4, 6_u16);
    hands.begun.recv().unwrap();
    hands.end.send(()).unwrap();
    guest.wait_used(&rings[0], 1);
}

#[test]
fn a_queue_in_use_does_not_change() {
    let guest = guest();
    let ring = guest.start(1).remove(0);
    guest.write(guest.common + 22, 0_u16);
    guest.write(guest.common + 24, 8_u16);
    guest.write(guest.common + 32, 0x9000_u64);
    assert_eq!(guest.read::<2>(guest.common + 24), u64::from(DriverRing::SIZE));
    assert_eq!(guest.read::<8>(guest.common + 32), ring.base);
}

#[test]
fn queue_sizes_are_powers_of_two_up_to_the_offered_one() {
    let guest = guest();
    assert_eq!(guest.read::<2>(guest.common + 24), 128);
    for refused in [0_u16, 3, 256, 0x8000, 0xffff] {
        guest.write(guest.common + 24, refused);
        assert_eq!(guest.read::<2>(guest.common + 24), 128);
    }
    guest.write(guest.common + 22, 2_u16);
    assert_eq!(guest.read::<2>(guest.common + 24), 0, "there is no queue 2");
}

#[test]
fn reset_is_as_power_on() {
    let guest = guest();
    guest.start(2);
    guest.set_config_vector(0);
    guest.set_queue_vector(1, 1);
    guest.set_status(0);
    assert_eq!(guest.status(), 0);
    assert_eq!(guest.read::<2>(guest.common + 16), u64::from(NO_VECTOR));
    guest.write(guest.common + 22, 1_u16);
    assert_eq!(guest.read::<2>(guest.common + 24), 128);
    assert_eq!(guest.read::<2>(guest.common + 26), u64::from(NO_VECTOR));
    assert_eq!(guest.read::<2>(guest.common + 28), 0);
    assert_eq!(guest.read::<8>(guest.common + 32), 0);
    guest.write(guest.common + 8, 1_u32);
    assert_eq!(guest.read::<4>(guest.common + 12), 0);
    guest.start(2);
}
