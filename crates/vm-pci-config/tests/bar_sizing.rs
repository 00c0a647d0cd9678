//! How guests size Base Address Registers (PCIe Base 7.5.1.2.1), by every width and with decoding on and off.

mod common;

use common::{read16, read32, write16, write32};
use vm_pci_config::{Bar, BarIndex, Identity, PciConfigSpace, Prefetchable};

fn space(bars: &[(BarIndex, Bar)]) -> PciConfigSpace {
    let mut space = PciConfigSpace::new(Identity::new(0x1234, 0x5678)).unwrap();
    for (index, bar) in bars {
        space.add_bar(*index, *bar).unwrap();
    }
    space
}

/// What Linux learns from one BAR: size, and whether it is I/O, 64 bits wide, prefetchable.
#[derive(Debug, PartialEq)]
struct Sized {
    size: u64,
    io: bool,
    wide: bool,
    prefetch: bool,
}

/// How the guest writes a DWORD: as one, as two words, or as four bytes from the top.
#[derive(Clone, Copy, Debug)]
enum Width {
    Byte,
    Word,
    Dword,
}

fn poke(space: &mut PciConfigSpace, width: Width, offset: u16, value: u32) {
    let [a, b, c, d] = value.to_le_bytes();
    match width {
        Width::Dword => drop(space.write(offset, &[a, b, c, d])),
        Width::Word => {
            let _ = space.write(offset + 2, &[c, d]);
            let _ = space.write(offset, &[a, b]);
        }
        Width::Byte => {
            for (byte, lane) in [(d, 3), (c, 2), (b, 1), (a, 0)] {
                let _ = space.write(offset + lane, &[byte]);
            }
        }
    }
}

/// The steps of Linux's `__pci_read_base`: decode off, save, ones, read, restore, the lowest set bit is the size.
fn size_like_linux(
    space: &mut PciConfigSpace,
    offset: u16,
    width: Width,
    decode_off: bool,
) -> Sized {
    let command = read16(space, 0x04);
    if decode_off {
        let _ = write16(space, 0x04, command & !0x0003);
    }
    let mut probe = |offset| {
        let saved = read32(space, offset);
        poke(space, width, offset, 0xffff_ffff);
        let ones = read32(space, offset);
        poke(space, width, offset, saved);
        assert_eq!(read32(space, offset), saved);
        (saved, ones)
    };
    let (saved, ones) = probe(offset);
    let io = saved & 1 != 0;
    let wide = !io && saved & 0b110 == 0b100;
    let mut bits = u64::from(if io { ones & !0x3 } else { ones & !0xf });
    if wide {
        let (_, high) = probe(offset + 4);
        bits |= u64::from(high) << 32;
    }
    let _ = write16(space, 0x04, command);
    // `extent & ~(extent - 1)`
    let size = bits & bits.wrapping_neg();
    Sized { size, io, wide, prefetch: !io && saved & 8 != 0 }
}

#[test]
fn linux_sizes_every_kind_by_every_width_with_decode_off_and_on() {
    let mut cases = vec![];
    for shift in 2..=8 {
        cases.push((Bar::io(1 << shift), 1 << shift, (true, false, false)));
    }
    for shift in 4..=31 {
        let size = 1 << shift;
        cases.push((Bar::memory32(size, Prefetchable::No), size, (false, false, false)));
        cases.push((Bar::memory32(size, Prefetchable::Yes), size, (false, false, true)));
    }
    for shift in 4..=63 {
        let size = 1 << shift;
        cases.push((Bar::memory64(size, Prefetchable::No), size, (false, true, false)));
        cases.push((Bar::memory64(size, Prefetchable::Yes), size, (false, true, true)));
    }
    for (bar, size, (io, wide, prefetch)) in cases {
        for width in [Width::Byte, Width::Word, Width::Dword] {
            for decode_off in [false, true] {
                let mut space = space(&[(BarIndex::Bar2, bar)]);
                let _ = write16(&mut space, 0x04, 0x0007);
                let found = size_like_linux(&mut space, 0x18, width, decode_off);
                assert_eq!(found, Sized { size, io, wide, prefetch }, "{bar:?} {width:?}");
                assert_eq!(read16(&space, 0x04), 0x0007);
            }
        }
    }
}

#[test]
fn an_absent_bar_reads_zero_and_keeps_nothing() {
    let mut space = space(&[(BarIndex::Bar0, Bar::memory64(0x1000, Prefetchable::No))]);
    for offset in [0x18, 0x1c, 0x20, 0x24, 0x30] {
        let _ = write32(&mut space, offset, 0xffff_ffff);
        assert_eq!(read32(&space, offset), 0, "{offset:#x}");
    }
}

#[test]
fn sizing_patterns_written_by_hand() {
    let mut space = space(&[
        (BarIndex::Bar0, Bar::memory64(4 << 30, Prefetchable::Yes)),
        (BarIndex::Bar2, Bar::memory32(16, Prefetchable::No)),
        (BarIndex::Bar3, Bar::io(4)),
        (BarIndex::Bar4, Bar::memory64(0x10_0000, Prefetchable::No)),
    ]);
    for offset in (0x10..0x28).step_by(4) {
        let _ = write32(&mut space, offset, 0xffff_ffff);
    }
    let read: Vec<u32> = (0x10..0x28).step_by(4).map(|offset| read32(&space, offset)).collect();
    assert_eq!(
        read,
        [0x0000_000c, 0xffff_ffff, 0xffff_fff0, 0xffff_fffd, 0xfff0_0004, 0xffff_ffff]
    );
}
