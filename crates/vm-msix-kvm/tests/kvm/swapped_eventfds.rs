//! Two vectors exchange their eventfds: what waits stays with its vector, what comes goes to the other (C3, C13).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use vm_msix_kvm::{Irqfd, RouteTable};

use crate::support::deferred::Deferred;
use crate::support::producer::Producer;
use crate::support::wait::until;
use crate::support::{Msix, guest, to_apic};

const INTERRUPTS: [u8; 2] = [0x41, 0x42];

/// Two open vectors, with these on descriptors, for each way to commit and for the poller.
fn each(on: [bool; 2], test: impl Fn(&Deferred, &mut Msix, [Option<Irqfd>; 2])) {
    for (poll, vm) in [
        (false, Deferred::immediate()),
        (false, Deferred::polled()),
        (false, Deferred::spawned()),
        (true, Deferred::spawned()),
    ] {
        let Some(vm) = vm else { return };
        if poll {
            while vm.fixture.router.allocate().is_ok() {}
        }
        let mut msix = vm.function(2);
        guest(&mut msix).bring_up(&INTERRUPTS.map(|vector| to_apic(0, vector)));
        let guards = [0, 1].map(|vector| on[vector].then(|| msix.get_irqfd(vector).unwrap()));
        msix.flush().unwrap();
        test(&vm, &mut msix, guards);
    }
}

/// An eventfd's signal comes out of this vector, and nothing comes out of the other.
#[track_caller]
fn expect_from(vm: &Deferred, msix: &mut Msix, guard: &Irqfd, vector: u16) {
    assert_eq!(guard.vector().get(), vector);
    Producer::of(guard).signal();
    until("the interrupt", || !vm.fixture.apic().requested().is_empty());
    guest(msix).mask_function();
    assert_eq!(vm.fixture.apic().requested(), [INTERRUPTS[usize::from(vector)]]);
    assert!(!guest(msix).is_pending(0) && !guest(msix).is_pending(1));
    vm.fixture.apic().clear();
    guest(msix).unmask_function();
    msix.flush().unwrap();
    vm.fixture.apic().expect_nothing();
}

#[test]
fn c13_open_vectors_swap_and_the_guards_follow() {
    each([true, true], |vm, msix, guards| {
        let [a, b] = guards.map(Option::unwrap);
        expect_from(vm, msix, &a, 0);
        expect_from(vm, msix, &b, 1);
        for round in 1..=4 {
            msix.swap_irqfds(0, 1).unwrap();
            msix.flush().unwrap();
            expect_from(vm, msix, &a, round % 2);
            expect_from(vm, msix, &b, 1 - round % 2);
        }
        msix.swap_irqfds(1, 1).unwrap();
        msix.flush().unwrap();
        expect_from(vm, msix, &a, 0);
        drop(a);
        expect_from(vm, msix, &b, 1);
        assert!(msix.swap_irqfds(0, 2).is_err());
    });
}

#[test]
fn c13_one_descriptor_moves_to_and_fro() {
    each([true, false], |vm, msix, guards| {
        let a = guards.into_iter().flatten().next().unwrap();
        for (x, y, there) in [(0, 1, 1), (0, 1, 0), (1, 0, 1)] {
            msix.swap_irqfds(x, y).unwrap();
            msix.flush().unwrap();
            expect_from(vm, msix, &a, there);
            // The one without a descriptor is in signal mode, and has no second one by mistake.
            msix.trigger(1 - there).unwrap();
            assert_eq!(vm.fixture.apic().requested(), [INTERRUPTS[usize::from(1 - there)]]);
            vm.fixture.apic().clear();
        }
        let used = vm.fixture.router.gsis_in_use();
        assert!(used == 1 || used > 4000, "{used}");
    });
}

#[test]
fn swapping_vectors_without_descriptors_changes_nothing() {
    each([false, false], |vm, msix, _| {
        vm.table.commits.take();
        msix.swap_irqfds(0, 1).unwrap();
        for vector in 0..2 {
            msix.trigger(vector).unwrap();
            assert_eq!(vm.fixture.apic().requested(), [INTERRUPTS[usize::from(vector)]]);
            vm.fixture.apic().clear();
        }
        assert_eq!(vm.table.commits.take(), [] as [Vec<_>; 0]);
    });
}

/// One masked vector with something pending, from its descriptor or a trigger; the other one open or masked too.
#[test]
fn c3_what_is_pending_stays_with_its_vector() {
    for (other_masked, by_trigger) in [(false, false), (false, true), (true, false), (true, true)] {
        each([true, true], |vm, msix, guards| {
            let [a, b] = guards.map(Option::unwrap);
            guest(msix).mask(0);
            if other_masked {
                guest(msix).mask(1);
            }
            if by_trigger {
                msix.trigger(0).unwrap();
            } else {
                Producer::of(&a).signal();
            }
            msix.swap_irqfds(0, 1).unwrap();
            msix.flush().unwrap();
            assert!(guest(msix).is_pending(0) && !guest(msix).is_pending(1));
            vm.fixture.apic().expect_nothing();
            // What comes into it now is the other's.
            Producer::of(&a).signal();
            if other_masked {
                assert!(guest(msix).is_pending(1));
                vm.fixture.apic().expect_nothing();
                guest(msix).unmask(1);
            }
            vm.fixture.apic().expect(INTERRUPTS[1]);
            guest(msix).unmask(0);
            vm.fixture.apic().expect(INTERRUPTS[0]);
            msix.flush().unwrap();
            expect_from(vm, msix, &a, 1);
            expect_from(vm, msix, &b, 0);
        });
    }
}

/// One write meets any moment of a swap; the delay sweeps over them. It comes out once, of one vector or of the other.
#[test]
fn c3_a_signal_during_a_swap_is_delivered_once() {
    each([true, true], |vm, msix, guards| {
        let [a, _b] = guards.map(Option::unwrap);
        let producer = Producer::of(&a);
        let (go, gone) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=200 {
                    until("the round", || go.load(Ordering::Acquire) >= round);
                    (0..round * 40).for_each(|_| std::hint::spin_loop());
                    producer.signal();
                    gone.store(round, Ordering::Release);
                }
            });
            for round in 1..=200 {
                go.store(round, Ordering::Release);
                while gone.load(Ordering::Acquire) < round {
                    msix.swap_irqfds(0, 1).unwrap();
                }
                vm.committer.run_pending();
                until("the interrupt", || !vm.fixture.apic().requested().is_empty());
                guest(msix).mask_function();
                assert!(!guest(msix).is_pending(0) && !guest(msix).is_pending(1));
                assert_eq!(vm.fixture.apic().requested().len(), 1, "round {round}");
                vm.fixture.apic().clear();
                guest(msix).unmask_function();
                msix.flush().unwrap();
                vm.fixture.apic().expect_nothing();
            }
        });
    });
}

/// Both are written as fast as can be, while they swap and are masked: nothing while masked, and all is there at the end.
#[test]
fn c3_c4_swaps_hold_under_a_storm() {
    each([true, true], |vm, msix, guards| {
        let [a, b] = guards.map(Option::unwrap);
        let (done, writes) = (AtomicBool::new(false), AtomicU64::new(0));
        let [first, second] = [Producer::of(&a), Producer::of(&b)];
        thread::scope(|scope| {
            for producer in [&first, &second] {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        producer.signal();
                        writes.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for round in 0..60 {
                msix.swap_irqfds(0, 1).unwrap();
                if round % 3 == 0 {
                    guest(msix).mask_function();
                    vm.fixture.apic().clear();
                    msix.swap_irqfds(1, 0).unwrap();
                    until("both", || guest(msix).is_pending(0) && guest(msix).is_pending(1));
                    vm.fixture.apic().expect_nothing();
                    guest(msix).unmask_function();
                    until("both", || {
                        vm.fixture.apic().requested() == INTERRUPTS || {
                            vm.committer.run_pending();
                            false
                        }
                    });
                    vm.fixture.apic().clear();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        msix.flush().unwrap();
        guest(msix).mask_function();
        vm.fixture.apic().clear();
        guest(msix).unmask_function();
        msix.flush().unwrap();
        // The poller may have something to pass on, the last of which is waited for by the mask.
        guest(msix).mask_function();
        vm.fixture.apic().clear();
        assert!(writes.load(Ordering::Relaxed) > 0);
        guest(msix).unmask_function();
        msix.flush().unwrap();
        let (at_a, at_b) = (a.vector().get(), b.vector().get());
        assert_eq!(at_a + at_b, 1);
        expect_from(vm, msix, &a, at_a);
        expect_from(vm, msix, &b, at_b);
    });
}
