//! The type 0 header, against images written by hand from PCIe Base 7.5.1.

mod common;

use common::{image, read8, read16, read32, write16, write32};
use vm_pci_config::{
    Bar, BarIndex, CapabilityId, ClassCode, Identity, InterruptPin, InterruptStatus,
    PciConfigError, PciConfigSpace, PlainCapability, Prefetchable, StatusError,
};

fn nic() -> PciConfigSpace {
    let identity = Identity::new(0x1af4, 0x1041)
        .class(ClassCode { class: 0x02, subclass: 0x80, prog_if: 0x01 })
        .revision(0x07)
        .subsystem(0x1022, 0x4321)
        .interrupt_pin(InterruptPin::IntB)
        .interrupt_line(11);
    PciConfigSpace::new(identity).unwrap()
}

#[test]
fn base_7_5_1_header_image_after_power_on() {
    let mut space = nic();
    space.add_bar(BarIndex::Bar0, Bar::io(0x20)).unwrap();
    space.add_bar(BarIndex::Bar1, Bar::memory32(0x1000, Prefetchable::No).at(0xfebc_1000)).unwrap();
    space
        .add_bar(BarIndex::Bar4, Bar::memory64(0x4000, Prefetchable::Yes).at(0x12_3456_8000))
        .unwrap();
    space.add_capability(&PlainCapability::new(CapabilityId::VENDOR_SPECIFIC, &[6, 9])).unwrap();

    #[rustfmt::skip]
    let header: [u8; 0x44] = [
        0xf4, 0x1a, 0x41, 0x10, // vendor, device
        0x00, 0x00, 0x10, 0x00, // command, status with Capabilities List
        0x07, 0x01, 0x80, 0x02, // revision, prog-if, subclass, class
        0x00, 0x00, 0x00, 0x00, // cache line, latency, header type, BIST
        0x01, 0x00, 0x00, 0x00, // BAR 0: I/O
        0x00, 0x10, 0xbc, 0xfe, // BAR 1: 32-bit memory
        0x00, 0x00, 0x00, 0x00, // BAR 2
        0x00, 0x00, 0x00, 0x00, // BAR 3
        0x0c, 0x80, 0x56, 0x34, // BAR 4: 64-bit prefetchable memory
        0x12, 0x00, 0x00, 0x00, //   its upper half
        0x00, 0x00, 0x00, 0x00, // CIS
        0x22, 0x10, 0x21, 0x43, // subsystem vendor, subsystem
        0x00, 0x00, 0x00, 0x00, // expansion ROM
        0x40, 0x00, 0x00, 0x00, // capabilities pointer
        0x00, 0x00, 0x00, 0x00,
        0x0b, 0x02, 0x00, 0x00, // interrupt line, pin
        0x09, 0x00, 0x06, 0x09, // the capability
    ];
    let mut expected = [0; 0x100];
    expected[..0x44].copy_from_slice(&header);
    assert_eq!(image(&space), expected);
}

#[test]
fn base_7_5_1_1_all_ones_change_only_the_writable_bits() {
    let mut space = nic();
    for offset in (0..0x100).step_by(4) {
        let _ = write32(&mut space, offset, 0xffff_ffff);
    }
    let mut expected = [0; 0x100];
    expected[0x00..0x04].copy_from_slice(&[0xf4, 0x1a, 0x41, 0x10]);
    expected[0x04..0x08].copy_from_slice(&[0x47, 0x05, 0x00, 0x00]);
    expected[0x08..0x0c].copy_from_slice(&[0x07, 0x01, 0x80, 0x02]);
    expected[0x0c] = 0xff;
    expected[0x2c..0x30].copy_from_slice(&[0x22, 0x10, 0x21, 0x43]);
    expected[0x3c..0x3e].copy_from_slice(&[0xff, 0x02]);
    assert_eq!(image(&space), expected);
}

#[test]
fn base_7_5_1_1_3_each_command_bit_has_its_accessor() {
    let mut space = nic();
    let seen = |space: &PciConfigSpace| {
        [space.io_enabled(), space.memory_enabled(), space.bus_master(), space.intx_disabled()]
    };
    let reported = |space: &PciConfigSpace| {
        [space.command().parity_error_response(), space.command().serr_enabled()]
    };
    assert_eq!((seen(&space), reported(&space)), ([false; 4], [false; 2]));
    for (bits, expected) in [
        (0x0001, ([true, false, false, false], [false, false])),
        (0x0002, ([false, true, false, false], [false, false])),
        (0x0004, ([false, false, true, false], [false, false])),
        (0x0040, ([false; 4], [true, false])),
        (0x0100, ([false; 4], [false, true])),
        (0x0400, ([false, false, false, true], [false, false])),
        (0xfab8, ([false; 4], [false; 2])),
    ] {
        let _ = write16(&mut space, 0x04, bits);
        assert_eq!((seen(&space), reported(&space)), expected, "{bits:#06x}");
    }
    let _ = write16(&mut space, 0x04, 0x0140);
    assert_eq!(space.command().bits(), 0x0140);
}

#[test]
fn command_change_tells_edges_only() {
    let mut space = nic();
    let outcome = write16(&mut space, 0x04, 0x0404);
    assert!(!outcome.is_empty());
    let change = outcome.command.unwrap();
    assert_eq!((change.before.bits(), change.after.bits()), (0x0000, 0x0404));
    assert_eq!((change.bus_master(), change.intx_disabled()), (Some(true), Some(true)));

    let outcome = write16(&mut space, 0x04, 0x0404);
    assert!(outcome.is_empty());

    // The upper byte alone: bus mastering stays.
    let change = space.write(0x05, &[0x00]).command.unwrap();
    assert_eq!((change.bus_master(), change.intx_disabled()), (None, Some(false)));

    // A write that begins in the Device ID and ends in Command.
    let change = write32(&mut space, 0x02, 0x0000_ffff).command.unwrap();
    assert_eq!(change.bus_master(), Some(false));
    assert_eq!(read32(&space, 0x00), 0x1041_1af4);
}

#[test]
fn base_7_5_1_1_4_status_errors_clear_by_writing_one() {
    let bits = [
        (StatusError::MasterDataParity, 0x0100),
        (StatusError::SignaledTargetAbort, 0x0800),
        (StatusError::ReceivedTargetAbort, 0x1000),
        (StatusError::ReceivedMasterAbort, 0x2000),
        (StatusError::SignaledSystemError, 0x4000),
        (StatusError::DetectedParity, 0x8000),
    ];
    let mut space = nic();
    for (error, _) in bits {
        space.set_status_error(error);
    }
    assert_eq!(read16(&space, 0x06), 0xf900);
    let _ = write16(&mut space, 0x06, 0x0000);
    assert_eq!(read16(&space, 0x06), 0xf900, "zeros clear nothing");
    // A driver's byte write to Command does not touch Status, even with ones in it.
    let _ = space.write(0x04, &[0xff]);
    assert_eq!(read16(&space, 0x06), 0xf900);

    let mut left = 0xf900;
    for (_, bit) in bits {
        let _ = write16(&mut space, 0x06, bit);
        left &= !bit;
        assert_eq!(read16(&space, 0x06), left);
    }
}

#[test]
fn base_7_5_1_1_4_interrupt_status_is_the_devices_alone() {
    let mut space = nic();
    space.set_interrupt_status(InterruptStatus::Pending);
    let _ = write16(&mut space, 0x06, 0xffff);
    assert_eq!(read16(&space, 0x06), 0x0008);
    space.set_interrupt_status(InterruptStatus::Clear);
    assert_eq!(read16(&space, 0x06), 0x0000);
}

#[test]
fn base_7_5_1_1_9_multi_function_is_header_type_bit_7() {
    let space = PciConfigSpace::new(Identity::new(1, 2).multi_function()).unwrap();
    assert_eq!(read8(&space, 0x0e), 0x80);
    assert_eq!(read8(&nic(), 0x0e), 0x00);
}

#[test]
fn base_7_5_1_1_1_vendor_ffff_is_refused() {
    let refused = PciConfigSpace::new(Identity::new(0xffff, 1)).err();
    assert_eq!(refused, Some(PciConfigError::VendorIdReserved));
}

#[test]
fn base_7_5_1_1_13_interrupt_pins() {
    for (pin, value) in [
        (InterruptPin::None, 0),
        (InterruptPin::IntA, 1),
        (InterruptPin::IntB, 2),
        (InterruptPin::IntC, 3),
        (InterruptPin::IntD, 4),
    ] {
        let space = PciConfigSpace::new(Identity::new(1, 2).interrupt_pin(pin)).unwrap();
        assert_eq!(read8(&space, 0x3d), value);
    }
}

#[test]
fn reset_restores_the_power_on_image_and_says_what_moved() {
    let mut space = nic();
    space.add_bar(BarIndex::Bar0, Bar::memory32(0x1000, Prefetchable::No).at(0xfebc_1000)).unwrap();
    let power = PlainCapability::new(CapabilityId::POWER_MANAGEMENT, &[3, 0, 0, 0, 0, 0]);
    space.add_capability(&power.writable(&[0, 0x0003])).unwrap();
    let power_on = image(&space);

    for offset in (0..0x100).step_by(4) {
        let _ = write32(&mut space, offset, 0x5555_5557);
    }
    space.set_status_error(StatusError::DetectedParity);
    space.set_interrupt_status(InterruptStatus::Pending);
    assert_ne!(image(&space), power_on);

    let outcome = space.reset();
    assert_eq!(image(&space), power_on);
    assert_eq!(outcome.command.unwrap().bus_master(), Some(false));
    assert_eq!(outcome.bars.len(), 1);
    assert_eq!(outcome.bars[0].before.unwrap().start(), 0x5555_5000);
    assert_eq!(outcome.bars[0].after, None);
    assert!(space.reset().is_empty());
}

#[test]
fn accesses_across_a_dword_take_the_bytes_of_both() {
    let space = nic();
    assert_eq!(read32(&space, 0x02), 0x0000_1041);
    assert_eq!(read32(&space, 0x07), 0x8001_0700);
    assert_eq!(read16(&space, 0x0b), 0x0002);
    assert_eq!(read16(&space, 0xff), 0x0000);
}
