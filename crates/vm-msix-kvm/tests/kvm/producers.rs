//! Producers outside of this code obey masks (C13), and the PBA shows what they did meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::support::fixture::Fixture;
use crate::support::producer::Producer;
use crate::support::wait::until;
use crate::support::{guest, to_apic};

#[test]
fn c13_a_mask_holds_for_a_producer_on_another_thread() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    let producer = Producer::of(&guard);
    let (written, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                producer.signal();
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        let more_come = || {
            let before = written.load(Ordering::Relaxed);
            // The second one began after this look.
            until("the producer", || written.load(Ordering::Relaxed) >= before + 2);
        };
        for _ in 0..200 {
            guest(&mut msix).mask(0);
            fixture.apic().clear();
            more_come();
            fixture.apic().expect_nothing();
            assert!(guest(&mut msix).is_pending(0));
            guest(&mut msix).unmask(0);
            until("what was latched", || fixture.apic().has(0x41));
            fixture.apic().clear();
            until("what comes now", || fixture.apic().has(0x41));
        }
        done.store(true, Ordering::Relaxed);
    });
    guest(&mut msix).mask(0);
    fixture.apic().clear();
    assert!(!guest(&mut msix).is_pending(0));
    guest(&mut msix).unmask(0);
    guest(&mut msix).mask(0);
    fixture.apic().expect_nothing();
}

#[test]
fn c13_the_pba_shows_the_counter_and_does_not_consume_it() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    guest(&mut msix).mask(0);
    assert!(!guest(&mut msix).is_pending(0));
    for _ in 0..3 {
        Producer::of(&guard).signal();
    }
    for _ in 0..10 {
        assert!(guest(&mut msix).is_pending(0));
    }
    guest(&mut msix).unmask(0);
    assert!(!guest(&mut msix).is_pending(0));
    fixture.apic().expect(0x41);
}

/// A write while the vector is open is taken at once; the counter of an open vector is never a Pending Bit.
#[test]
fn c13_an_open_vector_is_never_pending() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    let producer = Producer::of(&guard);
    for _ in 0..1000 {
        producer.signal();
        assert!(!guest(&mut msix).is_pending(0));
    }
}

#[test]
fn a_full_counter_is_one_latched_signal() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    let guard = msix.get_irqfd(0).unwrap();
    let eventfd = Producer::of(&guard).into_eventfd();
    eventfd.write(u64::MAX - 1).unwrap();
    assert!(eventfd.write(1).is_err());

    assert_eq!(msix.trigger(0).unwrap(), vm_msix::Signal::Latched);
    assert!(guest(&mut msix).is_pending(0));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    fixture.apic().expect(0x41);
    guest(&mut msix).mask(0);
    assert!(!guest(&mut msix).is_pending(0));
}

/// Odd vectors on descriptors, even ones in memory, every third one pending.
#[test]
fn the_pba_joins_both_kinds_of_latch() {
    let Some(fixture) = Fixture::new() else { return };
    let msix = fixture.function(150);
    let guards: Vec<_> =
        (0..150).map(|vector| (vector % 2 == 1).then(|| msix.get_irqfd(vector).unwrap())).collect();
    let mut expected = [0_u64; 3];
    for vector in (0..150).step_by(3) {
        expected[vector / 64] |= 1 << (vector % 64);
        match &guards[vector] {
            Some(guard) => Producer::of(guard).signal(),
            None => drop(msix.trigger(vector as u16).unwrap()),
        }
    }
    for (qword, bits) in (0..).zip(expected) {
        let mut data = [0xff; 8];
        msix.read_pba_entries(qword * 8, &mut data);
        assert_eq!(u64::from_le_bytes(data), bits, "QWORD {qword}");
    }
}
