//! irqfd mode: into it and out of it, and what the vector keeps on the way (C3, C6, C13).

use std::sync::mpsc;
use std::thread;

use vm_msix::Signal;

use crate::support::fixture::Fixture;
use crate::support::producer::Producer;
use crate::support::{Msix, guest, to_apic, unsynced};

/// Nothing more comes of vector 0: closing it ends every delivery, and opening it shows what waited.
#[track_caller]
fn expect_no_more(fixture: &Fixture, msix: &mut Msix) {
    guest(msix).mask(0);
    assert!(!guest(msix).is_pending(0));
    fixture.apic().expect_nothing();
    guest(msix).unmask(0);
    guest(msix).mask(0);
    fixture.apic().expect_nothing();
    guest(msix).unmask(0);
}

#[test]
fn get_irqfd_of_an_open_vector_delivers_nothing_by_itself() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    expect_no_more(&fixture, &mut msix);

    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    fixture.apic().expect(0x41);
    Producer::of(&guard).signal();
    fixture.apic().expect(0x41);
    expect_no_more(&fixture, &mut msix);
    assert_eq!(fixture.router.gsis_in_use(), 1);
}

#[test]
fn get_irqfd_of_a_vector_that_was_never_programmed_latches_until_it_is() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    let guard = msix.get_irqfd(0).unwrap();
    // Taken at once, so that whoever asks learns here if there is none.
    assert_eq!(fixture.router.gsis_in_use(), 1);
    assert!(!guest(&mut msix).is_pending(0));

    Producer::of(&guard).signal();
    assert!(guest(&mut msix).is_pending(0));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    fixture.apic().expect(0x41);
    expect_no_more(&fixture, &mut msix);
}

/// Each of the ways in which a vector is closed, with a signal latched before the descriptor was asked for.
#[test]
fn c3_get_irqfd_of_a_pending_vector_keeps_its_signal() {
    type Switch = fn(&mut Msix);
    let ways: [(Switch, Switch); 4] = [
        (|msix| guest(msix).mask(0), |msix| guest(msix).unmask(0)),
        (|msix| guest(msix).mask_function(), |msix| guest(msix).unmask_function()),
        (|msix| guest(msix).disable(), |msix| guest(msix).enable()),
        (|msix| msix.set_bus_master(false), |msix| msix.set_bus_master(true)),
    ];
    let Some(fixture) = Fixture::new() else { return };
    for (close, open) in ways {
        let mut msix = fixture.function(1);
        guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
        close(&mut msix);
        assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);

        let guard = msix.get_irqfd(0).unwrap();
        assert!(guest(&mut msix).is_pending(0));
        Producer::of(&guard).signal();
        assert_eq!(msix.trigger(0).unwrap(), Signal::Collapsed);
        fixture.apic().expect_nothing();

        open(&mut msix);
        fixture.apic().expect(0x41);
        expect_no_more(&fixture, &mut msix);
        drop(guard);
        expect_no_more(&fixture, &mut msix);
    }
}

#[test]
fn c3_the_last_guard_takes_the_vector_back_to_signal_mode_with_what_is_pending() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let first = msix.get_irqfd(0).unwrap();
    let second = msix.get_irqfd(0).unwrap();
    assert_eq!(first.vector(), second.vector());
    guest(&mut msix).mask(0);
    Producer::of(&second).signal();

    drop(first);
    assert_eq!(fixture.router.gsis_in_use(), 1);
    drop(second);
    assert_eq!(fixture.router.gsis_in_use(), 0);
    assert!(guest(&mut msix).is_pending(0));
    assert_eq!(msix.trigger(0).unwrap(), Signal::Collapsed);
    fixture.apic().expect_nothing();

    guest(&mut msix).unmask(0);
    assert_eq!(fixture.apic().requested(), [0x41]);
    fixture.apic().clear();
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(fixture.apic().requested(), [0x41]);
    fixture.apic().clear();
    expect_no_more(&fixture, &mut msix);
}

#[test]
fn an_open_vector_goes_to_and_fro_without_a_signal_lost_or_invented() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    for _ in 0..50 {
        let guard = msix.get_irqfd(0).unwrap();
        Producer::of(&guard).signal();
        fixture.apic().expect(0x41);
        drop(guard);
        // Dropping the guard has ended every delivery of the eventfd.
        fixture.apic().expect_nothing();
        assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
        assert_eq!(fixture.apic().requested(), [0x41]);
        fixture.apic().clear();
    }
    expect_no_more(&fixture, &mut msix);
}

#[test]
fn a_signal_in_the_eventfd_is_delivered_before_the_guard_is_gone() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    for _ in 0..50 {
        let guard = msix.get_irqfd(0).unwrap();
        Producer::of(&guard).signal();
        drop(guard);
        assert_eq!(fixture.apic().requested(), [0x41]);
        fixture.apic().clear();
    }
}

/// The trigger may meet any moment of the way back to signal mode; the delay sweeps over them.
#[test]
fn c3_a_trigger_while_the_last_guard_goes_is_not_lost() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let (start, started) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let trigger = msix.trigger_handle(0).unwrap();
    let producer = thread::spawn(move || {
        for spins in started {
            (0..spins).for_each(|_| std::hint::spin_loop());
            trigger.trigger().unwrap();
            end.send(()).unwrap();
        }
    });
    for round in 0..2000 {
        let guard = msix.get_irqfd(0).unwrap();
        start.send(round % 1000).unwrap();
        drop(guard);
        ended.recv().unwrap();
        // Sent by whoever came first: both have happened.
        assert_eq!(fixture.apic().requested(), [0x41], "round {round}");
        fixture.apic().clear();
    }
    drop(start);
    producer.join().unwrap();
    expect_no_more(&fixture, &mut msix);
}

/// Assigning injects by a work item; masking at once must neither lose nor repeat what that one carries.
#[test]
fn c3_unmask_then_mask_at_once_delivers_once() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    let producer = Producer::of(&guard);
    guest(&mut msix).mask(0);
    for _ in 0..100 {
        producer.signal();
        guest(&mut msix).unmask(0);
        guest(&mut msix).mask(0);
        assert_eq!(fixture.apic().requested(), [0x41]);
        assert!(!guest(&mut msix).is_pending(0));
        fixture.apic().clear();
    }
}

#[test]
fn c6_retract_empties_the_counter_of_a_closed_vector_and_leaves_an_open_one() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    msix.trigger(0).unwrap();
    fixture.apic().expect(0x41);
    assert!(!msix.retract(0).unwrap());

    guest(&mut msix).mask(0);
    Producer::of(&guard).signal();
    msix.trigger(0).unwrap();
    assert!(msix.retract(0).unwrap());
    assert!(!guest(&mut msix).is_pending(0));
    assert!(!msix.retract(0).unwrap());
    guest(&mut msix).unmask(0);
    expect_no_more(&fixture, &mut msix);
}

#[test]
fn get_irqfd_past_the_end_is_refused() {
    let Some(fixture) = Fixture::new() else { return };
    let msix = fixture.function(3);
    assert!(matches!(
        msix.get_irqfd(3),
        Err(vm_msix::MsixError::VectorOutOfRange { vector: 3, vectors: 3 })
    ));
}

#[test]
fn c14_after_a_pause_no_interrupt_of_an_eventfd_is_on_its_way() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    let producer = Producer::of(&guard);
    for _ in 0..50 {
        producer.signal();
        msix.pause();
        assert_eq!(fixture.apic().requested(), [0x41]);
        fixture.apic().clear();
        producer.signal();
        fixture.apic().expect_nothing();
        assert!(msix.snapshot().vectors[0].pending);
        msix.resume();
        assert_eq!(fixture.apic().requested(), [0x41]);
        fixture.apic().clear();
    }
}

#[test]
fn c14_what_waits_in_an_eventfd_is_saved_and_delivered_after_restore() {
    let Some(fixture) = Fixture::new() else { return };
    let mut source = fixture.function(2);
    guest(&mut source).bring_up(&[to_apic(0, 0x41), to_apic(0, 0x42)]);
    let guard = source.get_irqfd(1).unwrap();
    guest(&mut source).mask_function();
    source.trigger(0).unwrap();
    Producer::of(&guard).signal();
    let state = source.snapshot();
    assert!(state.vectors.iter().all(|vector| vector.pending));

    let mut target = fixture.function(2);
    let _guard = target.get_irqfd(0).unwrap();
    target.restore(&state).unwrap();
    assert_eq!(unsynced(&target), [] as [u16; 0]);
    fixture.apic().expect_nothing();
    guest(&mut target).unmask_function();
    crate::support::wait::until("both", || fixture.apic().requested() == [0x41, 0x42]);
    guest(&mut target).mask_function();
    assert!(!guest(&mut target).is_pending(0) && !guest(&mut target).is_pending(1));
}
