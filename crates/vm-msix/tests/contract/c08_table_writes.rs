//! C8, writing the table: aligned DWORD and QWORD; everything else is ignored, and the observer is told.

use std::sync::Arc;

use crate::support::guest::{
    ADDRESS, DATA, UPPER_ADDRESS, VECTOR_CONTROL, bring_up, function, open, read_dword, table,
    write_dword, write_qword,
};
use crate::support::observing::{Event, Events};
use vm_msix::test_utils::MockBackend;
use vm_msix::{Direction, MsiMessage, MsixStatus, Region, Route};

#[test]
fn c08_a_dword_write_changes_one_register_and_says_which_entry() {
    let mut msix = function(3, MockBackend::new(3).unwrap());
    let registers = [ADDRESS, UPPER_ADDRESS, DATA, VECTOR_CONTROL];
    let mut expected = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
    for (vector, index) in [(1, 4), (2, 8), (0, 0)] {
        for (register, at, value, reads) in [
            (registers[0], 0, 0x4433_2211, 0x4433_2210),
            (registers[1], 1, 0x8877_6655, 0x8877_6655),
            (registers[2], 2, 0xffff_ffff, 0xffff_ffff),
            (registers[3], 3, 0xffff_fffe, 0x0000_0000),
        ] {
            let status = write_dword(&mut msix, vector, register, value);
            assert_eq!(status, MsixStatus::EntryChanged(vector.into()));
            expected[index + at] = reads;
            assert_eq!(table(&msix), expected);
        }
    }
}

#[test]
fn c08_a_qword_write_changes_two_registers() {
    let mut msix = function(2, MockBackend::new(2).unwrap());
    assert_eq!(
        write_qword(&mut msix, 1, ADDRESS, 0x0403_0201, 0x0807_0605),
        MsixStatus::EntryChanged(1)
    );
    assert_eq!(table(&msix), [0, 0, 0, 1, 0x0403_0200, 0x0807_0605, 0, 1]);
    assert_eq!(
        write_qword(&mut msix, 1, DATA, 0x0c0b_0a09, 0xffff_fffe),
        MsixStatus::EntryChanged(1)
    );
    assert_eq!(table(&msix), [0, 0, 0, 1, 0x0403_0200, 0x0807_0605, 0x0c0b_0a09, 0]);
}

#[test]
fn c08_a_qword_of_data_and_control_takes_effect_as_one_write() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend);
    bring_up(&mut msix);
    backend.take_batches();
    write_qword(&mut msix, 0, DATA, 0x1234, 1);
    assert_eq!(backend.take_batches(), [[(0, Route::Closed)]]);
    write_qword(&mut msix, 0, DATA, 0x5678, 0);
    let Route::Open(MsiMessage { address, .. }) = open(0).1 else { unreachable!() };
    let told = Route::Open(MsiMessage::new(address, 0x5678));
    assert_eq!(backend.take_batches(), [[(0, told)]]);
}

#[test]
fn c08_the_two_lowest_address_bits_are_read_only_zero() {
    let mut msix = function(1, MockBackend::new(1).unwrap());
    write_dword(&mut msix, 0, ADDRESS, 0xffff_ffff);
    assert_eq!(read_dword(&msix, 0, ADDRESS), 0xffff_fffc);
    assert_eq!(write_dword(&mut msix, 0, ADDRESS, 0xffff_fffd), MsixStatus::NothingToDo);
    write_dword(&mut msix, 0, ADDRESS, 3);
    assert_eq!(read_dword(&msix, 0, ADDRESS), 0);
}

#[test]
fn c08_reserved_bits_of_vector_control_are_read_only_zero() {
    let mut msix = function(1, MockBackend::new(1).unwrap());
    assert_eq!(write_dword(&mut msix, 0, VECTOR_CONTROL, 0xffff_ffff), MsixStatus::NothingToDo);
    assert_eq!(read_dword(&msix, 0, VECTOR_CONTROL), 1);
    for bit in 1..32 {
        let status = write_dword(&mut msix, 0, VECTOR_CONTROL, 1 << bit);
        let first = bit == 1;
        assert_eq!(status == MsixStatus::EntryChanged(0), first, "it clears the Mask Bit once");
        assert_eq!(read_dword(&msix, 0, VECTOR_CONTROL), 0);
    }
    assert_eq!(write_qword(&mut msix, 0, DATA, 0, 0xffff_fffe), MsixStatus::NothingToDo);
}

#[test]
fn c08_a_write_of_what_is_there_does_nothing() {
    let mut msix = function(2, MockBackend::new(2).unwrap());
    bring_up(&mut msix);
    let before = table(&msix);
    for (offset, value) in (0..).step_by(4).zip(&before) {
        let status = msix.write_msix_table(offset, &value.to_le_bytes());
        assert_eq!(status, MsixStatus::NothingToDo);
    }
    assert_eq!(table(&msix), before);
}

#[test]
fn c08_every_other_write_of_the_table_is_ignored_and_reported() {
    let backend = MockBackend::new(2).unwrap();
    let events = Arc::<Events>::default();
    let mut msix = function(2, &backend).with_observer(Arc::clone(&events));
    bring_up(&mut msix);
    backend.take_batches();
    events.take();
    let before = table(&msix);
    for len in 0..=16 {
        let extremes = (0..=16).map(|back| u64::MAX - back);
        for offset in (0..48).chain(extremes) {
            let fits = offset.checked_add(len as u64).is_some_and(|end| end <= 32);
            if matches!((len, offset % 4, offset % 8), (4, 0, _) | (8, _, 0)) && fits {
                continue;
            }
            let status = msix.write_msix_table(offset, &vec![0xff; len]);
            assert_eq!(status, MsixStatus::NothingToDo, "{len} bytes at {offset:#x}");
            let event = Event::Illegal(Region::Table, Direction::Write, offset, len);
            assert_eq!(events.take(), [event]);
        }
    }
    assert_eq!(table(&msix), before);
    assert_eq!(backend.take_batches(), [] as [Vec<_>; 0]);
}
