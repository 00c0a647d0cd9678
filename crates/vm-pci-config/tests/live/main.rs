//! Live capabilities: what is routed where, and what a device can change from outside.

#[path = "../common/mod.rs"]
mod common;
mod device;
#[cfg(feature = "std")]
mod shared;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use common::{image, read8, read16, read32, write32};
use device::{Device, Other, Rig, Wrote, device, msix_shaped, rig};
use vm_pci_config::{
    CapabilityId, Identity, PciCapConfigWriteResult, PciCapMapping, PciConfigError, PciConfigSpace,
};

#[test]
fn reads_take_masked_bits_from_the_device_and_the_others_as_stored() {
    let Rig { space, reads, .. } = rig();
    // Stored 0x4007: bit 14 set, bit 15 clear; the device says 10 for both.
    assert_eq!(read32(&space, 0x44), 0x8007_5011);
    assert_eq!(read32(&space, 0x48), 0x4030_2010);
    assert_eq!(read32(&space, 0x4c), 0x8765_4321);
    assert_eq!(read8(&space, 0x4e), 0x65);
    assert_eq!(read16(&space, 0x46), 0x8007);
    assert_eq!(reads.load(Ordering::Relaxed), 4, "a register without a mask is not asked");
}

#[test]
fn a_read_across_two_registers_asks_each_once() {
    let Rig { space, reads, .. } = rig();
    assert_eq!(read32(&space, 0x4a), 0x4321_4030);
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    assert_eq!(read16(&space, 0x43), 0x11ee);
    assert_eq!(reads.load(Ordering::Relaxed), 2);
    let mut refused = [0xaa; 3];
    space.read(0x44, &mut refused);
    assert_eq!((refused, reads.load(Ordering::Relaxed)), ([0; 3], 2));
}

#[test]
fn writes_reach_the_device_with_its_own_register_numbers() {
    let mut space = rig().space;
    for (offset, data, expected) in [
        // Windows writes Message Control as a DWORD at offset 0.
        (0x44, &[0x11, 0x50, 0x07, 0xc0][..], vec![Wrote(0, 0, vec![0x11, 0x50, 0x07, 0xc0])]),
        (0x46, &[0x00, 0x80], vec![Wrote(0, 2, vec![0x00, 0x80])]),
        (0x47, &[0x80], vec![Wrote(0, 3, vec![0x80])]),
        (0x44, &[0x99], vec![Wrote(0, 0, vec![0x99])]),
        (0x4d, &[1, 2], vec![Wrote(2, 1, vec![1, 2])]),
        // Across registers, and across the borders of the capability.
        (0x4a, &[1, 2, 3, 4], vec![Wrote(1, 2, vec![1, 2]), Wrote(2, 0, vec![3, 4])]),
        (0x43, &[1, 2, 3, 4], vec![Wrote(0, 0, vec![2, 3, 4])]),
        (0x4f, &[1, 2], vec![Wrote(2, 3, vec![1])]),
        // Not its own, or not an access.
        (0x43, &[1], vec![]),
        (0x50, &[1, 2, 3, 4], vec![]),
        (0x44, &[1, 2, 3], vec![]),
        (0x44, &[], vec![]),
    ] {
        let outcome = space.write(offset, data);
        assert_eq!(outcome.is_empty(), expected.is_empty());
        let results: Vec<Wrote> = outcome
            .capabilities
            .into_iter()
            .map(|write| {
                assert_eq!((write.offset, write.id), (0x44, CapabilityId::MSIX));
                *write.result.downcast().unwrap()
            })
            .collect();
        assert_eq!(results, expected, "{offset:#x} {data:?}");
    }
}

#[test]
fn plain_writable_bits_are_stored_beside_the_device() {
    let Rig { mut space, mapping, .. } = rig();
    let _ = write32(&mut space, 0x44, 0xffff_ffff);
    let _ = write32(&mut space, 0x48, 0xffff_ffff);
    // Bit 31 is stored, though a guest reads the device's.
    assert_eq!(mapping.reg(0), Ok(0xc007_5011));
    assert_eq!(mapping.reg(1), Ok(0x4030_ff10));
    assert_eq!(read32(&space, 0x48), 0x4030_ff10);
    // A reset puts the plain bits back.
    let _ = space.reset();
    assert_eq!((mapping.reg(0), mapping.reg(1)), (Ok(0x4007_5011), Ok(0x4030_2010)));
}

#[test]
fn a_device_that_returns_nothing_adds_nothing_to_the_outcome() {
    let (mut device, _, _mappings) = device();
    device.silent = true;
    let mut space = PciConfigSpace::new(Identity::new(1, 2)).unwrap();
    space.add_capability_with_config(&msix_shaped(), Box::new(device)).unwrap();
    assert!(write32(&mut space, 0x40, 0xffff_ffff).is_empty());
}

#[test]
fn a_result_of_another_type_comes_back_whole() {
    let result: Box<dyn PciCapConfigWriteResult> = Box::new(Other);
    assert!(result.is::<Other>() && !result.is::<Wrote>());
    assert_eq!(result.downcast_ref::<Wrote>(), None);
    let result = result.downcast::<Wrote>().unwrap_err();
    assert_eq!(*result.downcast::<Other>().unwrap(), Other);
}

#[test]
fn debug_says_that_a_device_answered_and_what_a_function_has() {
    let mut space = rig().space;
    let outcome = format!("{:?}", space.write(0x44, &[0x99]));
    assert!(outcome.contains("PciCapConfigWriteResult"), "{outcome}");
    let space = format!("{space:?}");
    assert!(space.contains("command") && space.contains("bars"), "{space}");
}

#[test]
fn a_mapping_changes_what_the_guest_reads() {
    let Rig { space, mapping, .. } = rig();
    mapping.set_reg(1, 0xdead_beef, 0xffff_0000).unwrap();
    assert_eq!(read32(&space, 0x48), 0xdead_2010);
    mapping.clone().set_reg(1, 0xdead_beef, 0x0000_ffff).unwrap();
    assert_eq!(read32(&space, 0x48), 0xdead_beef);
    mapping.set_reg(1, 0, 0).unwrap();
    assert_eq!(read32(&space, 0x48), 0xdead_beef);
}

#[test]
fn what_a_mapping_set_outside_the_guests_bits_survives_a_reset() {
    let Rig { mut space, mapping, .. } = rig();
    mapping.set_reg(1, 0xdead_beef, 0xffff_ffff).unwrap();
    let _ = space.reset();
    assert_eq!(read32(&space, 0x48), 0xdead_20ef);
}

#[test]
fn a_mapping_cannot_reach_the_header_or_the_neighbours() {
    let Rig { space, mapping, .. } = rig();
    let before = image(&space);
    assert_eq!(mapping.num_regs(), 3);
    for reg_idx in [3, 4, 15, 64, usize::MAX - 0x10, usize::MAX] {
        let refused = PciConfigError::RegisterOutOfRange { reg_idx, num_regs: 3 };
        assert_eq!(mapping.set_reg(reg_idx, 0xffff_ffff, 0xffff_ffff), Err(refused));
        assert_eq!(mapping.reg(reg_idx), Err(refused));
    }
    assert_eq!(image(&space), before);
    for reg_idx in 0..3 {
        mapping.set_reg(reg_idx, 0xffff_ffff, 0xffff_ffff).unwrap();
    }
    let after = image(&space);
    assert_eq!((&after[..0x46], &after[0x50..]), (&before[..0x46], &before[0x50..]));
    assert_eq!(after[0x46..0x4c], [0xff, 0xbf, 0xff, 0xff, 0xff, 0xff]);
}

#[test]
fn configs_that_disagree_with_the_bytes_are_refused() {
    type Wrong = fn(&mut Device);
    let cases: [(Wrong, PciConfigError); 4] = [
        (
            |device| device.num_regs = 4,
            PciConfigError::RegisterCountMismatch { config: 4, registers: 3 },
        ),
        (
            |device| device.read_mask = &[0, 0],
            PciConfigError::ReadMaskMismatch { given: 2, registers: 3 },
        ),
        (
            |device| device.read_mask = &[0, 0, 0, 0],
            PciConfigError::ReadMaskMismatch { given: 4, registers: 3 },
        ),
        (
            |device| device.read_mask = &[0xc000_0100, 0, 0],
            PciConfigError::ReadMaskCoversHeader { mask: 0xc000_0100 },
        ),
    ];
    for (wrong, error) in cases {
        let (mut device, _, mappings) = device();
        wrong(&mut device);
        let mut space = PciConfigSpace::new(Identity::new(1, 2)).unwrap();
        let before = image(&space);
        let refused = space.add_capability_with_config(&msix_shaped(), Box::new(device));
        assert_eq!(refused, Err(error));
        assert_eq!(image(&space), before);
        assert!(mappings.try_recv().is_err());
    }
}

#[test]
fn neither_the_device_nor_the_guest_loses_a_change_to_the_other() {
    let Rig { mut space, mapping, .. } = rig();
    let both_run = Arc::new(Barrier::new(2));
    let done = Arc::new(AtomicBool::new(false));
    let device = {
        let (both_run, done) = (Arc::clone(&both_run), Arc::clone(&done));
        thread::spawn(move || {
            both_run.wait();
            let mut round = 0_u32;
            while !done.load(Ordering::Relaxed) {
                round = (round + 1) & 0xffff;
                mapping.set_reg(1, round << 16, 0xffff_0000).unwrap();
                assert_eq!(mapping.reg(1).unwrap() >> 16, round);
            }
            round
        })
    };
    both_run.wait();
    let mut lost = 0;
    for round in 0..200_000_u32 {
        let byte = round.to_le_bytes()[0];
        let _ = space.write(0x49, &[byte]);
        lost += u32::from(read8(&space, 0x49) != byte);
    }
    done.store(true, Ordering::Relaxed);
    let last = device.join().expect("the device lost nothing");
    assert_eq!((lost, u32::from(read16(&space, 0x4a))), (0, last));
}

#[test]
fn threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<PciConfigSpace>();
    sync::<Mutex<PciConfigSpace>>();
    send::<PciCapMapping>();
    sync::<PciCapMapping>();
}
