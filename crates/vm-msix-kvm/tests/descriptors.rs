//! Every host resource comes back: descriptors, irqfds, GSIs (C7). A program of its own, because it counts the
//! descriptors of the process.

mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

use support::fixture::{Fixture, function};
use support::producer::{Producer, is_assigned};
use support::{Msix, guest, to_apic, to_memory};
use vm_msix::Signal;

const CYCLES: usize = 300;

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Runs cycles, and finds as many descriptors and GSIs after them as before.
#[track_caller]
fn expect_all_back(fixture: &Fixture, mut cycle: impl FnMut()) {
    let before = open_descriptors();
    for _ in 0..CYCLES {
        cycle();
        assert_eq!(fixture.router.gsis_in_use(), 0);
    }
    assert_eq!(open_descriptors(), before);
}

/// Eight vectors: five open on descriptors, one of them to memory, one closed and pending, two in signal mode.
fn busy(msix: &mut Msix) -> Vec<vm_msix_kvm::Irqfd> {
    let mut messages: Vec<_> = (0..8).map(|vector| to_apic(0, 0x40 + vector)).collect();
    messages[4] = to_memory(7);
    guest(msix).bring_up(&messages);
    let guards: Vec<_> = (0..6).map(|vector| msix.get_irqfd(vector).unwrap()).collect();
    for vector in 0..8 {
        msix.trigger(vector).unwrap();
    }
    guest(msix).mask(5);
    msix.trigger(5).unwrap();
    assert_eq!(guards.len(), 6);
    guards
}

#[test]
fn c7_reset_gives_everything_back_under_the_guards() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    let mut msix = fixture.function(8);
    expect_all_back(&fixture, || {
        let guards = busy(&mut msix);
        let eventfds: Vec<_> =
            guards.iter().map(|guard| Producer::of(guard).into_eventfd()).collect();
        assert_eq!(fixture.router.gsis_in_use(), 6);
        msix.reset();
        assert_eq!(fixture.router.gsis_in_use(), 0);
        assert!(!eventfds.iter().any(|eventfd| is_assigned(&fixture.vm, eventfd)));
    });
}

#[test]
fn c7_a_vector_on_a_descriptor_lives_on_after_reset() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    let mut msix = fixture.function(8);
    let before = open_descriptors();
    let guards = busy(&mut msix);
    for _ in 0..CYCLES {
        msix.reset();
        fixture.apic().clear();
        guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
        fixture.apic().expect_nothing();
        Producer::of(&guards[0]).signal();
        fixture.apic().expect(0x41);
        assert_eq!(fixture.router.gsis_in_use(), 1);
    }
    drop(guards);
    assert_eq!(fixture.router.gsis_in_use(), 0);
    assert_eq!(open_descriptors(), before);
}

#[test]
fn destroy_gives_everything_back() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    expect_all_back(&fixture, || {
        let mut msix = fixture.function(8);
        let guards = busy(&mut msix);
        msix.destroy();
        drop(guards);
    });
}

#[test]
fn dropping_the_function_gives_everything_back_though_triggers_stay() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    expect_all_back(&fixture, || {
        let mut msix = fixture.function(8);
        let guards = busy(&mut msix);
        let trigger = msix.trigger_handle(0).unwrap();
        drop(guards);
        drop(msix);
        assert_eq!(fixture.router.gsis_in_use(), 0);
        fixture.apic().clear();
        assert_eq!(trigger.trigger().unwrap(), Signal::Latched);
        fixture.apic().expect_nothing();
    });
}

#[test]
fn guards_outlive_the_function() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    expect_all_back(&fixture, || {
        let mut msix = fixture.function(8);
        let guards = busy(&mut msix);
        let trigger = msix.trigger_handle(0).unwrap();
        drop(msix);
        assert_eq!(fixture.router.gsis_in_use(), 0);
        fixture.apic().clear();
        let eventfd = Producer::of(&guards[0]).into_eventfd();
        Producer::of(&guards[0]).signal();
        assert_eq!(trigger.trigger().unwrap(), Signal::Latched);
        assert!(!is_assigned(&fixture.vm, &eventfd));
        fixture.apic().expect_nothing();
        drop(guards);
        assert!(trigger.trigger().is_ok());
        fixture.apic().expect_nothing();
    });
}

#[test]
fn failed_promotions_leave_nothing_behind() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    let table = std::sync::Arc::new(support::tables::Failing::new(fixture.router.clone()));
    table.fail(0x41, libc::EINVAL);
    let mut msix = function(1, fixture.delivery_with(table));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    expect_all_back(&fixture, || {
        assert!(msix.get_irqfd(0).is_err());
        assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    });
}

#[test]
fn going_to_and_fro_uses_one_gsi_and_one_descriptor() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    expect_all_back(&fixture, || {
        let before = open_descriptors();
        let guard = msix.get_irqfd(0).unwrap();
        assert_eq!((fixture.router.gsis_in_use(), open_descriptors()), (1, before + 1));
        drop(guard);
    });
}
