//! C8, reading the table: aligned DWORD and QWORD, zeros for everything else, and the observer is told.

use std::sync::Arc;

use crate::support::guest::{COUNTS, function, program, unmask};
use crate::support::observing::{Event, Events};
use vm_msix::test_utils::MockBackend;
use vm_msix::{Direction, MsiMessage, MsixConfig, Region};

type Watched = MsixConfig<Arc<MockBackend>, Arc<Events>>;

/// Two vectors, and their table as bytes: the second unmasked.
fn programmed() -> (Watched, Arc<Events>) {
    let events = Arc::<Events>::default();
    let msix = function(2, Arc::new(MockBackend::new(2).unwrap()));
    let mut msix = msix.with_observer(Arc::clone(&events));
    program(&mut msix, 0, MsiMessage::new(0x0807_0605_0403_0200, 0x0c0b_0a09));
    program(&mut msix, 1, MsiMessage::new(0x1817_1615_1413_1210, 0x1c1b_1a19));
    unmask(&mut msix, 1);
    events.take();
    (msix, events)
}

#[rustfmt::skip]
const BYTES: [u8; 32] = [
    0x00, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x01, 0x00, 0x00, 0x00,
    0x10, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x00, 0x00, 0x00, 0x00,
];

fn read(msix: &Watched, offset: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0xa5; len];
    msix.read_msix_table(offset, &mut data);
    data
}

#[test]
fn c08_a_dword_of_the_table_reads_as_programmed() {
    let (msix, events) = programmed();
    for offset in (0..32).step_by(4) {
        assert_eq!(read(&msix, offset as u64, 4), BYTES[offset..offset + 4]);
    }
    assert_eq!(events.take(), []);
}

#[test]
fn c08_a_qword_of_the_table_reads_as_programmed() {
    let (msix, events) = programmed();
    for offset in (0..32).step_by(8) {
        assert_eq!(read(&msix, offset as u64, 8), BYTES[offset..offset + 8]);
    }
    assert_eq!(events.take(), []);
}

#[test]
fn c08_every_other_read_of_the_table_gives_zeros_and_is_reported() {
    let (msix, events) = programmed();
    for len in 0..=16 {
        for offset in 0..48 {
            let end = offset + len as u64;
            if matches!((len, offset % 4, offset % 8), (4, 0, _) | (8, _, 0)) && end <= 32 {
                continue;
            }
            assert_eq!(read(&msix, offset, len), vec![0; len], "{len} bytes at {offset}");
            let event = Event::Illegal(Region::Table, Direction::Read, offset, len);
            assert_eq!(events.take(), [event]);
        }
    }
}

#[test]
fn c08_a_read_at_the_end_of_the_address_space_gives_zeros_and_is_reported() {
    let (msix, events) = programmed();
    for offset in (0..=16).map(|back| u64::MAX - back).chain([1 << 32, 1 << 36, 1 << 63]) {
        for len in [1, 2, 4, 8, 16, 4096] {
            assert_eq!(read(&msix, offset, len), vec![0; len], "{len} bytes at {offset:#x}");
            let event = Event::Illegal(Region::Table, Direction::Read, offset, len);
            assert_eq!(events.take(), [event]);
        }
    }
}

#[test]
fn c08_the_table_ends_after_its_last_entry() {
    for count in COUNTS {
        let events = Arc::<Events>::default();
        let msix = function(count, Arc::new(MockBackend::new(count).unwrap()));
        let msix: Watched = msix.with_observer(Arc::clone(&events));
        let end = 16 * u64::from(count);
        assert_eq!(read(&msix, end - 4, 4), [1, 0, 0, 0]);
        assert_eq!(read(&msix, end - 8, 8), [0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(events.take(), []);
        assert_eq!(read(&msix, end, 4), [0; 4]);
        assert_eq!(read(&msix, end + 12, 4), [0; 4]);
        assert_eq!(read(&msix, end, 8), [0; 8]);
        assert_eq!(events.take().len(), 3);
    }
}

#[test]
fn c08_a_mask_bit_that_is_not_there_is_set() {
    for count in COUNTS {
        let mut msix = function(count, Arc::new(MockBackend::new(count).unwrap()));
        unmask(&mut msix, count - 1);
        assert!(!msix.table_masked(usize::from(count) - 1));
        for index in [count.into(), 2048, 65_536 + usize::from(count) - 1, usize::MAX] {
            assert!(msix.table_masked(index));
        }
    }
}
