//! What no driver does (C10): every access has a result, and a broken queue ends in NEEDS_RESET.

use proptest::prelude::*;

use super::rig::{BUFFERS, DriverRing, Guest, MEMORY, VERSION_1, wait_for};
use crate::device::PciDevice;
use crate::virtio::Entropy;

const NEEDS_RESET: u8 = 64;

fn guest() -> (Guest<Entropy>, DriverRing) {
    let guest = Guest::new(Entropy, 2);
    let ring = guest.start(1).remove(0);
    (guest, ring)
}

/// The device asks for a reset, and works after it.
fn needs_reset(guest: &Guest<Entropy>) {
    guest.kick(0);
    wait_for(|| guest.status() & NEEDS_RESET != 0);
    guest.rest();
    guest.set_status(0);
    assert_eq!(guest.status(), 0);
    let zeros = vec![0; 0x3000];
    vm_memory::Bytes::write_slice(&guest.memory, &zeros, vm_memory::GuestAddress(0)).unwrap();
    let mut ring = guest.start(1).remove(0);
    ring.add(&[(BUFFERS, 8, true)]);
    guest.kick(0);
    guest.wait_used(&ring, 1);
    assert_eq!(guest.status() & NEEDS_RESET, 0);
}

#[test]
fn more_requests_than_the_ring_holds() {
    let (guest, ring) = guest();
    ring.set_available(DriverRing::SIZE + 1);
    needs_reset(&guest);
}

#[test]
fn a_buffer_outside_of_memory() {
    let (guest, mut ring) = guest();
    ring.add(&[(MEMORY - 4, 8, true)]);
    needs_reset(&guest);
}

#[test]
fn a_buffer_at_the_end_of_all_addresses() {
    let (guest, mut ring) = guest();
    ring.add(&[(u64::MAX - 3, 8, true)]);
    needs_reset(&guest);
}

#[test]
fn a_request_without_the_buffers_that_it_must_have() {
    let (guest, mut ring) = guest();
    ring.add(&[(BUFFERS, 8, false)]);
    needs_reset(&guest);
}

#[test]
fn a_head_outside_of_the_table() {
    let (guest, mut ring) = guest();
    ring.offer(DriverRing::SIZE);
    needs_reset(&guest);
}

#[test]
fn a_chain_in_a_circle_ends() {
    let (guest, mut ring) = guest();
    ring.describe(0, BUFFERS, 8, 3, 1);
    ring.describe(1, BUFFERS, 8, 3, 0);
    ring.offer(0);
    guest.kick(0);
    guest.wait_used(&ring, 1);
    assert!(ring.used_length(0) <= 8 * u32::from(DriverRing::SIZE));
}

#[test]
fn a_broken_device_serves_nothing_until_its_reset() {
    let (guest, mut ring) = guest();
    ring.add(&[(u64::MAX - 3, 8, true)]);
    guest.kick(0);
    wait_for(|| guest.status() & NEEDS_RESET != 0);
    ring.add(&[(BUFFERS, 8, true)]);
    guest.kick(0);
    guest.rest();
    assert_eq!(ring.used_index(), 0);
    guest.set_status(3 | 8 | 4 | NEEDS_RESET);
    assert_ne!(guest.status() & NEEDS_RESET, 0);
}

#[test]
fn queues_outside_of_memory_or_askew_are_not_enabled() {
    let guest = Guest::new(Entropy, 2);
    guest.accept(VERSION_1);
    guest.set_status(3 | 8);
    for (desc, driver, device) in [
        (MEMORY - 16, 0x1000, 0x2000),
        (0, MEMORY - 16, 0x2000),
        (0, 0x1000, MEMORY - 16),
        (!15, 0x1000, 0x2000),
        (0, u64::MAX - 1, 0x2000),
        (0, 0x1000, u64::MAX - 3),
        (8, 0x1000, 0x2000),
        (0, 0x1001, 0x2000),
        (0, 0x1000, 0x2002),
    ] {
        guest.write(guest.common + 32, desc);
        guest.write(guest.common + 40, driver);
        guest.write(guest.common + 48, device);
        guest.write(guest.common + 28, 1_u16);
        assert_eq!(guest.read::<2>(guest.common + 28), 0, "{desc:#x} {driver:#x} {device:#x}");
    }
    guest.enable_queue(0);
}

#[test]
fn notifications_of_queues_that_are_not_there_do_nothing() {
    let (guest, mut ring) = guest();
    for queue in [1, 63, 64, 65, 1023] {
        guest.kick(queue);
    }
    ring.add(&[(BUFFERS, 8, true)]);
    guest.kick(0);
    guest.wait_used(&ring, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any access of any width at any place, and the device works after a reset.
    #[test]
    fn any_access_has_a_result(
        accesses in prop::collection::vec(
            (0..3_u8, 0..0x5000_u64, any::<u64>(), 0..=8_usize, any::<bool>()),
            1..200,
        ),
    ) {
        let (guest, _ring) = guest();
        for (place, offset, value, width, write) in accesses {
            let bytes = value.to_le_bytes();
            let mut data = [0xa5; 8];
            match (place, write) {
                (0, true) => guest.device.config_write(config_offset(offset), &bytes[..width]),
                (0, false) => guest.device.config_read(offset as u16, &mut data[..width]),
                (_, true) => {
                    guest.device.mmio_write(guest.common + offset % 0x4000, &bytes[..width]);
                }
                (_, false) => {
                    guest.device.mmio_read(guest.common + offset % 0x4000, &mut data[..width]);
                }
            }
        }
        // Where it was, whatever was written to Command and to the BARs.
        guest.write_config(4, 0_u16);
        guest.write_config(0x10, guest.common as u32);
        guest.write_config(4, 6_u16);
        guest.set_status(0);
        prop_assert_eq!(guest.status(), 0);
        prop_assert_eq!(guest.features() & VERSION_1, VERSION_1);
    }
}

/// Mostly behind the header, so that the device stays where the next accesses go.
fn config_offset(offset: u64) -> u16 {
    (offset % 0x100) as u16 | 0x40
}
