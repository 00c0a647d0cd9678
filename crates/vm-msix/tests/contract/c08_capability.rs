//! C8, Message Control: byte, word and DWORD writes at any offset of the capability.

use std::sync::{Arc, Mutex};

use crate::support::guest::{ENABLE, control, function};
use crate::support::observing::{Event, Events};
use vm_msix::test_utils::MockBackend;
use vm_msix::{Direction, MsixCap, MsixConfig, MsixLayout, MsixStatus, Region};
use vm_pci_config::{Identity, PciConfigSpace};

type Watched = MsixConfig<MockBackend, Arc<Events>>;

fn watched() -> (Watched, Arc<Events>) {
    let events = Arc::<Events>::default();
    let msix = function(4, MockBackend::new(4).unwrap());
    (msix.with_observer(Arc::clone(&events)), events)
}

fn bits(msix: &Watched) -> (bool, bool) {
    (msix.enabled(), msix.masked())
}

/// The bytes that put this byte into byte 3 of the capability.
type Form = fn(u8) -> Vec<u8>;

/// Bytes to write at an offset, and what byte 3 of the capability gets of them.
#[rustfmt::skip]
const FORMS: [(u64, Form); 9] = [
    (3, |high| vec![high]),                         // the byte
    (2, |high| vec![0x3f, high]),                   // the word: Message Control
    (0, |high| vec![0x11, 0x00, 0x3f, high]),       // the DWORD: Windows
    (1, |high| vec![0x00, 0x3f, high, 0xff]),       // crooked, and yet inside
    (2, |high| vec![0x3f, high, 0xff, 0xff]),
    (3, |high| vec![high, 0xff, 0xff, 0xff]),
    (3, |high| vec![high, 0xff]),
    (1, |high| vec![0x00, 0x3f, high]),             // what the DWORD at 1 leaves of its register
    (3, |high| vec![high, 0xff, 0xff]),
];

#[test]
fn c08_message_control_takes_every_width_at_every_offset_that_holds_its_bits() {
    for (offset, form) in FORMS {
        let (mut msix, events) = watched();
        for high in [0x80, 0xc0, 0x40, 0x00, 0xff, 0x3f, 0xbf, 0x7f] {
            let before = bits(&msix);
            let after = (high & 0x80 != 0, high & 0x40 != 0);
            let status = msix.write_msix_capability(offset, &form(high));
            let changed =
                if before == after { MsixStatus::NothingToDo } else { MsixStatus::Changed };
            assert_eq!(status, changed, "{high:#x} at {offset}");
            assert_eq!(bits(&msix), after, "{high:#x} at {offset}");
        }
        assert_eq!(events.take(), []);
    }
}

#[test]
fn c08_writes_of_the_read_only_bytes_of_the_capability_do_nothing_and_are_legal() {
    let (mut msix, events) = watched();
    for word in [0, ENABLE] {
        control(&mut msix, word);
        let before = bits(&msix);
        for (offset, len) in [
            (0, 1),
            (1, 1),
            (2, 1),
            (0, 2),
            (1, 2),
            (4, 1),
            (4, 2),
            (4, 4),
            (0, 3),
            (4, 3),
            (9, 3),
            (5, 4),
            (8, 4),
            (11, 1),
            (10, 2),
        ] {
            for byte in [0x00, 0xff] {
                let status = msix.write_msix_capability(offset, &vec![byte; len]);
                assert_eq!(status, MsixStatus::NothingToDo);
                assert_eq!(bits(&msix), before);
            }
        }
    }
    assert_eq!(events.take(), []);
}

#[test]
fn c08_other_writes_of_the_capability_are_ignored_and_reported() {
    let (mut msix, events) = watched();
    for len in 0..=16 {
        let extremes = (0..=16).map(|back| u64::MAX - back);
        for offset in (0..=16).chain(extremes) {
            let fits = offset.checked_add(len as u64).is_some_and(|end| end <= 12);
            if matches!(len, 1..=4) && fits {
                continue;
            }
            let status = msix.write_msix_capability(offset, &vec![0xff; len]);
            assert_eq!(status, MsixStatus::NothingToDo, "{len} bytes at {offset:#x}");
            assert_eq!(bits(&msix), (false, false), "{len} bytes at {offset:#x}");
            let event = Event::Illegal(Region::Capability, Direction::Write, offset, len);
            assert_eq!(events.take(), [event]);
        }
    }
}

#[test]
fn c08_a_read_of_the_capability_emulates_the_two_top_bits_and_leaves_the_others() {
    let (mut msix, events) = watched();
    for (word, top) in
        [(0x0000, 0), (0x8000, 0x8000_0000), (0xc000, 0xc000_0000), (0x4000, 0x4000_0000_u32)]
    {
        control(&mut msix, word);
        for stored in [0, 0xffff_ffff, 0x0003_0011, 0x8003_0011, 0x4003_5011, 0xa5a5_a5a5] {
            assert_eq!(msix.read_msix_capability(stored), stored & 0x3fff_ffff | top);
        }
    }
    assert_eq!(events.take(), []);
}

/// A function, the space of its capability, and where that is.
fn in_configuration_space() -> (Arc<Mutex<MsixConfig<MockBackend>>>, PciConfigSpace, u16) {
    let layout = MsixLayout::propose(4, 0).unwrap();
    let msix = Arc::new(Mutex::new(function(4, MockBackend::new(4).unwrap())));
    let mut space = PciConfigSpace::new(Identity::new(0x1af4, 0x1042)).unwrap();
    let config = Box::new(Arc::clone(&msix));
    let at = space.add_capability_with_config(&MsixCap::of(layout), config).unwrap();
    (msix, space, at)
}

/// Found by comparison with QEMU: the space cuts such a DWORD into 3 bytes and 1, and the 3 had no effect.
#[test]
fn c08_a_dword_across_registers_reaches_message_control_through_configuration_space() {
    let (msix, mut space, at) = in_configuration_space();
    for high in [0x80, 0xc0, 0x40, 0x00] {
        let outcome = space.write(at + 1, &[0x00, 0x3f, high, 0xff]);
        assert_eq!(outcome.capabilities.len(), 2);
        let msix = msix.lock().unwrap();
        assert_eq!((msix.enabled(), msix.masked()), (high & 0x80 != 0, high & 0x40 != 0));
    }
}

#[test]
fn c08_configuration_space_reads_enable_and_function_mask_from_the_function() {
    let (msix, space, at) = in_configuration_space();
    for high in [0x80, 0xc0, 0x40, 0x00] {
        let _ = msix.lock().unwrap().write_msix_capability(3, &[high]);
        let mut read = [0xff; 12];
        read.chunks_mut(4).zip([at, at + 4, at + 8]).for_each(|(dword, at)| space.read(at, dword));
        // ID, no next one, 4 vectors; the table at 0 of BAR 0, the PBA at 0x1000.
        assert_eq!(read, [0x11, 0, 3, high, 0, 0, 0, 0, 0, 0x10, 0, 0]);
    }
}

#[test]
fn c08_reserved_bits_of_message_control_are_read_only_zero() {
    let (mut msix, _) = watched();
    for bit in 0..14 {
        assert_eq!(control(&mut msix, 1 << bit), MsixStatus::NothingToDo);
        assert_eq!(msix.read_msix_capability(0x0003_0011), 0x0003_0011);
    }
    assert_eq!(control(&mut msix, 0xffff), MsixStatus::Changed);
    assert_eq!(msix.read_msix_capability(0x0003_0011), 0xc003_0011);
}
