//! C8, the PBA: aligned DWORD and QWORD reads; writes have no effect.

use std::convert::Infallible;
use std::sync::Arc;

use crate::support::guest::{COUNTS, bring_up, control, function, message, pba, table};
use crate::support::observing::{Event, Events};
use vm_msix::latches::Latches;
use vm_msix::test_utils::MockBackend;
use vm_msix::{Direction, MsixConfig, Region, Signal, Spin, VectorCount, VectorIndex};

type Watched<'a> = MsixConfig<&'a MockBackend, Arc<Events>>;

fn watched(backend: &MockBackend, vectors: u16) -> (Watched<'_>, Arc<Events>) {
    let events = Arc::<Events>::default();
    (function(vectors, backend).with_observer(Arc::clone(&events)), events)
}

fn read(msix: &Watched<'_>, offset: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0xa5; len];
    msix.read_pba_entries(offset, &mut data);
    data
}

#[test]
fn c08_every_vector_has_its_own_pending_bit() {
    for count in COUNTS {
        let backend = MockBackend::new(count).unwrap();
        let (msix, _) = watched(&backend, count);
        let qwords = usize::from(count).div_ceil(64);
        for vector in 0..count {
            msix.trigger(vector).unwrap();
            let mut expected = vec![0; qwords];
            expected[usize::from(vector) / 64] = 1u64 << (vector % 64);
            assert_eq!(pba(&msix), expected, "vector {vector} of {count}");
            msix.retract(vector).unwrap();
        }
    }
}

#[test]
fn c08_a_hint_is_set_while_a_signal_waits_and_clear_when_its_vector_has_opened() {
    let latches = Latches::new(VectorCount::new(65).unwrap(), Spin);
    let send = |_| Ok::<_, Infallible>(Signal::Sent);
    for vector in [0, 63, 64] {
        let index = VectorIndex::new(vector).unwrap();
        let hints = || latches.hints(usize::from(vector) / 64);
        assert_eq!(hints(), 0);
        latches.signal(index, send);
        assert_eq!(hints(), 1u64 << (vector % 64));
        latches.open(index, message(vector), send);
        assert_eq!(hints(), 0);
    }
}

#[test]
fn c08_bits_past_the_last_vector_read_as_zero() {
    let all: [(u16, u64); 7] = [
        (1, 0x1),
        (63, 0x7fff_ffff_ffff_ffff),
        (64, 0xffff_ffff_ffff_ffff),
        (65, 0x1),
        (1024, 0xffff_ffff_ffff_ffff),
        (2047, 0x7fff_ffff_ffff_ffff),
        (2048, 0xffff_ffff_ffff_ffff),
    ];
    for (count, last) in all {
        let backend = MockBackend::new(count).unwrap();
        let (msix, _) = watched(&backend, count);
        (0..count).for_each(|vector| {
            msix.trigger(vector).unwrap();
        });
        let mut qwords = pba(&msix);
        assert_eq!(qwords.pop(), Some(last), "{count}");
        assert!(qwords.into_iter().all(|qword| qword == u64::MAX));
    }
}

#[test]
fn c08_the_pba_reads_as_dwords_and_qwords() {
    let backend = MockBackend::new(65).unwrap();
    let (msix, events) = watched(&backend, 65);
    for vector in [0, 9, 31, 32, 62, 64] {
        msix.trigger(vector).unwrap();
    }
    events.take();
    assert_eq!(read(&msix, 0, 8), [0x01, 0x02, 0x00, 0x80, 0x01, 0x00, 0x00, 0x40]);
    assert_eq!(read(&msix, 0, 4), [0x01, 0x02, 0x00, 0x80]);
    assert_eq!(read(&msix, 4, 4), [0x01, 0x00, 0x00, 0x40]);
    assert_eq!(read(&msix, 8, 8), [0x01, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(read(&msix, 8, 4), [0x01, 0, 0, 0]);
    assert_eq!(read(&msix, 12, 4), [0; 4]);
    assert_eq!(events.take(), []);
}

#[test]
fn c08_every_other_read_of_the_pba_gives_zeros_and_is_reported() {
    let backend = MockBackend::new(65).unwrap();
    let (msix, events) = watched(&backend, 65);
    (0..65).for_each(|vector| {
        msix.trigger(vector).unwrap();
    });
    events.take();
    for len in 0..=16 {
        let extremes = (0..=16).map(|back| u64::MAX - back);
        for offset in (0..32).chain(extremes) {
            let fits = offset.checked_add(len as u64).is_some_and(|end| end <= 16);
            if matches!((len, offset % 4, offset % 8), (4, 0, _) | (8, _, 0)) && fits {
                continue;
            }
            assert_eq!(read(&msix, offset, len), vec![0; len], "{len} bytes at {offset:#x}");
            let event = Event::Illegal(Region::Pba, Direction::Read, offset, len);
            assert_eq!(events.take(), [event]);
        }
    }
}

#[test]
fn c08_the_pba_ends_with_the_qword_of_the_last_vector() {
    for (count, end) in [(1, 8), (63, 8), (64, 8), (65, 16), (1024, 128), (2047, 256), (2048, 256)]
    {
        let backend = MockBackend::new(count).unwrap();
        let (msix, events) = watched(&backend, count);
        read(&msix, end - 8, 8);
        read(&msix, end - 4, 4);
        assert_eq!(events.take(), []);
        assert_eq!(read(&msix, end, 8), [0; 8]);
        assert_eq!(read(&msix, end, 4), [0; 4]);
        assert_eq!(events.take().len(), 2, "{count}");
    }
}

#[test]
fn c08_writes_of_the_pba_have_no_effect_and_are_reported() {
    let backend = MockBackend::new(2).unwrap();
    let (mut msix, events) = watched(&backend, 2);
    msix.trigger(1).unwrap();
    let (pending, registers) = (pba(&msix), table(&msix));
    events.take();
    for len in [0, 1, 2, 4, 8, 16] {
        for offset in [0, 1, 4, 8, 16, u64::MAX] {
            msix.write_pba_entries(offset, &vec![0x01; len]);
            let event = Event::Illegal(Region::Pba, Direction::Write, offset, len);
            assert_eq!(events.take(), [event]);
        }
    }
    assert_eq!(pba(&msix), pending);
    assert_eq!(table(&msix), registers);
    bring_up(&mut msix);
    assert_eq!(backend.take_sent(), [(1, message(1))]);
    control(&mut msix, 0);
}
