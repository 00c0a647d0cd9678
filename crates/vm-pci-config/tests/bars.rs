//! Base Address Registers (PCIe Base 7.5.1.2.1): moving, decoding, refusing.

mod common;

use common::{read8, write16, write32};
use vm_pci_config::{
    AddressSpace, Bar, BarHit, BarIndex, BarKind, Identity, PciConfigError, PciConfigSpace,
    Prefetchable,
};

fn space(bars: &[(BarIndex, Bar)]) -> PciConfigSpace {
    let mut space = PciConfigSpace::new(Identity::new(0x1234, 0x5678)).unwrap();
    for (index, bar) in bars {
        space.add_bar(*index, *bar).unwrap();
    }
    space
}

#[test]
fn the_halves_of_a_64_bit_bar_move_independently() {
    let mut space = space(&[(BarIndex::Bar0, Bar::memory64(0x4000, Prefetchable::No))]);
    let _ = write16(&mut space, 0x04, 0x0002);

    let low = write32(&mut space, 0x10, 0xc000_0000);
    assert!(!low.is_empty());
    assert_eq!(low.bars[0].before.unwrap().start(), 0);
    assert_eq!(low.bars[0].after.unwrap().start(), 0xc000_0000);
    let high = write32(&mut space, 0x14, 0x0000_0008);
    assert_eq!(high.bars[0].index, BarIndex::Bar0);
    assert_eq!(high.bars[0].before.unwrap().start(), 0xc000_0000);
    assert_eq!(high.bars[0].after.unwrap().start(), 0x8_c000_0000);
    assert_eq!(high.bars.len(), 1);

    // One write across both halves is one move: the top byte of the low half, the first three of the high one.
    let both = space.write(0x13, &[0xd0, 0x01, 0x00, 0x00]);
    assert_eq!(both.bars.len(), 1);
    assert_eq!(both.bars[0].after.unwrap().start(), 0x1_d000_0000);
    assert_eq!(space.bar(BarIndex::Bar1), None);
}

#[test]
fn one_write_across_two_bars_moves_both() {
    let mut space = space(&[
        (BarIndex::Bar0, Bar::memory32(0x100, Prefetchable::No).at(0x1122_3300)),
        (BarIndex::Bar1, Bar::memory32(0x100, Prefetchable::No).at(0x4455_6600)),
    ]);
    let _ = write16(&mut space, 0x04, 0x0002);
    let outcome = write32(&mut space, 0x12, 0xbbbb_aaaa);
    let moved: Vec<_> =
        outcome.bars.iter().map(|bar| (bar.index, bar.after.unwrap().start())).collect();
    assert_eq!(moved, [(BarIndex::Bar0, 0xaaaa_3300), (BarIndex::Bar1, 0x4455_bb00)]);
}

#[test]
fn base_7_5_1_1_3_command_governs_each_space_alone() {
    let mut space = space(&[
        (BarIndex::Bar0, Bar::memory32(0x1000, Prefetchable::No).at(0xe000_0000)),
        (BarIndex::Bar1, Bar::io(0x40).at(0xc040)),
    ]);
    assert_eq!(space.bar(BarIndex::Bar0), None);
    assert_eq!(space.programmed_bar(BarIndex::Bar0).unwrap().start(), 0xe000_0000);
    assert_eq!(space.decode_memory(0xe000_0000, 4), None);
    assert_eq!(space.decode_io(0xc040, 1), None);

    let io = write16(&mut space, 0x04, 0x0001);
    assert_eq!(io.bars.len(), 1);
    assert_eq!((io.bars[0].index, io.bars[0].before), (BarIndex::Bar1, None));
    assert_eq!(io.bars[0].after.unwrap().space(), AddressSpace::Io);
    assert_eq!(space.decode_io(0xc07f, 1), Some(BarHit { index: BarIndex::Bar1, offset: 0x3f }));
    assert_eq!(space.decode_memory(0xe000_0000, 4), None);
    assert_eq!(space.decode_memory(0xc040, 4), None, "a port is no memory address");

    let both = write16(&mut space, 0x04, 0x0002);
    let edges: Vec<_> = both
        .bars
        .iter()
        .map(|bar| (bar.index, bar.before.is_some(), bar.after.is_some()))
        .collect();
    assert_eq!(edges, [(BarIndex::Bar0, false, true), (BarIndex::Bar1, true, false)]);
    assert_eq!(space.decode_io(0xc040, 1), None);
    assert_eq!(space.decode_io(0xe000_0000, 1), None);

    // Moving a BAR that is not decoded asks nothing of the VMM.
    assert!(write32(&mut space, 0x14, 0xd000).is_empty());
    assert_eq!(space.programmed_bar(BarIndex::Bar1).unwrap().start(), 0xd000);
}

#[test]
fn an_access_hits_only_if_all_of_it_is_inside() {
    let mut space =
        space(&[(BarIndex::Bar5, Bar::memory32(0x1000, Prefetchable::No).at(0xe000_0000))]);
    let _ = write16(&mut space, 0x04, 0x0002);
    let hit = |offset| Some(BarHit { index: BarIndex::Bar5, offset });
    assert_eq!(space.decode_memory(0xe000_0000, 0x1000), hit(0));
    assert_eq!(space.decode_memory(0xe000_0fff, 1), hit(0xfff));
    for (address, len) in [
        (0xdfff_ffff, 1),
        (0xdfff_ffff, 2),
        (0xe000_0fff, 2),
        (0xe000_1000, 1),
        (0xe000_0000, 0x1001),
        (0xe000_0000, 0),
        (0xe000_0001, usize::MAX),
        (u64::MAX, usize::MAX),
        (0x1_e000_0000, 4),
    ] {
        assert_eq!(space.decode_memory(address, len), None, "{address:#x} {len}");
    }
}

#[test]
fn a_bar_at_the_top_of_the_address_space_does_not_overflow() {
    let mut space = space(&[
        (BarIndex::Bar0, Bar::memory64(0x1000, Prefetchable::No)),
        (BarIndex::Bar2, Bar::memory32(0x1000, Prefetchable::No)),
        (BarIndex::Bar3, Bar::io(0x100)),
    ]);
    let _ = write16(&mut space, 0x04, 0x0003);
    for offset in (0x10..0x20).step_by(4) {
        let _ = write32(&mut space, offset, 0xffff_ffff);
    }
    let top = space.bar(BarIndex::Bar0).unwrap();
    assert_eq!((top.start(), top.size(), top.last()), (u64::MAX - 0xfff, 0x1000, u64::MAX));
    let hit = |index, offset| Some(BarHit { index, offset });
    assert_eq!(space.decode_memory(u64::MAX, 1), hit(BarIndex::Bar0, 0xfff));
    assert_eq!(space.decode_memory(u64::MAX, 2), None);
    assert_eq!(space.decode_memory(u64::MAX - 0xfff, 0x1000), hit(BarIndex::Bar0, 0));
    assert_eq!(space.decode_memory(0xffff_fffc, 4), hit(BarIndex::Bar2, 0xffc));
    assert_eq!(space.decode_memory(0xffff_fffc, 8), None);
    assert_eq!(space.decode_io(u32::MAX, 1), hit(BarIndex::Bar3, 0xff));
    assert_eq!(space.decode_io(u32::MAX, 4), None);
}

#[test]
fn the_largest_bar_covers_half_of_everything() {
    let mut space = space(&[(BarIndex::Bar0, Bar::memory64(1 << 63, Prefetchable::Yes))]);
    let _ = write16(&mut space, 0x04, 0x0002);
    assert_eq!(space.bar(BarIndex::Bar0).unwrap().last(), u64::MAX >> 1);
    let _ = write32(&mut space, 0x14, 0x8000_0000);
    assert_eq!(space.bar(BarIndex::Bar0).unwrap().last(), u64::MAX);
    assert_eq!(space.decode_memory(u64::MAX, 1).unwrap().offset, u64::MAX >> 1);
}

#[test]
fn of_overlapping_bars_the_lowest_takes_the_access() {
    let bar = Bar::memory32(0x1000, Prefetchable::No).at(0xe000_0000);
    let mut space = space(&[(BarIndex::Bar1, bar), (BarIndex::Bar3, bar)]);
    let _ = write16(&mut space, 0x04, 0x0002);
    assert_eq!(space.decode_memory(0xe000_0000, 4).unwrap().index, BarIndex::Bar1);
}

#[test]
fn a_moved_bar_keeps_its_flags_and_alignment() {
    let mut space = space(&[(BarIndex::Bar0, Bar::memory32(0x1000, Prefetchable::Yes))]);
    let _ = space.write(0x11, &[0xab]);
    let _ = space.write(0x10, &[0xff]);
    assert_eq!((read8(&space, 0x10), read8(&space, 0x11)), (0x08, 0xa0));
}

#[test]
fn descriptions_that_cannot_be_are_refused_and_change_nothing() {
    use PciConfigError::*;
    let memory32 = |size| Bar::memory32(size, Prefetchable::No);
    let memory64 = |size| Bar::memory64(size, Prefetchable::No);
    let cases = [
        (Bar::io(0), BarTooSmall { size: 0, minimum: 4 }),
        (Bar::io(2), BarTooSmall { size: 2, minimum: 4 }),
        (Bar::io(512), BarTooLarge { size: 512, maximum: 256 }),
        (memory32(0), BarTooSmall { size: 0, minimum: 16 }),
        (memory32(8), BarTooSmall { size: 8, minimum: 16 }),
        (memory32(1 << 32), BarTooLarge { size: 1 << 32, maximum: 1 << 31 }),
        (memory64(8), BarTooSmall { size: 8, minimum: 16 }),
        (memory64(u64::MAX), BarTooLarge { size: u64::MAX, maximum: 1 << 63 }),
        (memory64(0x1800), BarSizeNotPowerOfTwo { size: 0x1800 }),
        (memory32(0x1000).at(0x800), BarMisaligned { address: 0x800, size: 0x1000 }),
        (memory32(0x1000).at(1), BarMisaligned { address: 1, size: 0x1000 }),
        (memory32(0x1000).at(1 << 32), BarAddressTooHigh { address: 1 << 32 }),
        (Bar::io(8).at(1 << 32), BarAddressTooHigh { address: 1 << 32 }),
    ];
    let mut space = space(&[]);
    for (bar, error) in cases {
        assert_eq!(space.add_bar(BarIndex::Bar0, bar), Err(error));
        assert_eq!(space.programmed_bar(BarIndex::Bar0), None);
    }
    assert_eq!(space.add_bar(BarIndex::Bar5, memory64(0x1000)), Err(Bar64InLastSlot));
    assert_eq!(
        BarSizeNotPowerOfTwo { size: 0x1800 }.to_string(),
        "BAR size 0x1800 is not a power of two; round it up to 0x2000"
    );
}

#[test]
fn a_slot_is_given_once() {
    use PciConfigError::BarSlotTaken;
    let (narrow, wide) =
        (Bar::memory32(0x1000, Prefetchable::No), Bar::memory64(0x1000, Prefetchable::No));
    let mut space = space(&[(BarIndex::Bar1, wide), (BarIndex::Bar4, narrow)]);
    for (index, bar, taken) in [
        (BarIndex::Bar1, narrow, BarIndex::Bar1),
        (BarIndex::Bar2, narrow, BarIndex::Bar2),
        (BarIndex::Bar0, wide, BarIndex::Bar1),
        (BarIndex::Bar3, wide, BarIndex::Bar4),
        (BarIndex::Bar4, wide, BarIndex::Bar4),
    ] {
        assert_eq!(space.add_bar(index, bar), Err(BarSlotTaken { index: taken }));
    }
    assert_eq!(space.add_bar(BarIndex::Bar3, narrow), Ok(()));
    assert_eq!(space.add_bar(BarIndex::Bar5, narrow), Ok(()));
    assert_eq!(space.add_bar(BarIndex::Bar0, narrow), Ok(()));
}

#[test]
fn an_index_is_0_to_5() {
    for (number, index) in (0..).zip(BarIndex::ALL) {
        assert_eq!((BarIndex::try_from(number), index.number()), (Ok(index), number));
    }
    assert_eq!(BarIndex::try_from(6), Err(PciConfigError::BarIndexOutOfRange { index: 6 }));
    assert_eq!(BarIndex::Bar3.to_string(), "BAR 3");
}

#[test]
fn a_description_says_its_kind_and_its_size() {
    let described = |bar: Bar| (bar.kind(), bar.size());
    assert_eq!(described(Bar::io(4)), (BarKind::Io, 4));
    let memory32 = Bar::memory32(0x1000, Prefetchable::Yes).at(0xfebf_0000);
    assert_eq!(described(memory32), (BarKind::Memory32(Prefetchable::Yes), 0x1000));
    let memory64 = Bar::memory64(1 << 40, Prefetchable::No);
    assert_eq!(described(memory64), (BarKind::Memory64(Prefetchable::No), 1 << 40));
}
