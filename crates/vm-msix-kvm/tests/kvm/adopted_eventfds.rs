//! Eventfds that the caller brings: in the place of the vector's, or refused with a reason (C13).

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags};
use rustix::event::{EventfdFlags, eventfd};
use vm_msix::{MsixError, Signal};
use vm_msix_kvm::{EventfdFault, KvmError};

use crate::support::deferred::Deferred;
use crate::support::producer::{Producer, is_assigned};
use crate::support::{Msix, guest, to_apic, unsynced};

/// A caller's eventfd with this count, and the caller's descriptor of it.
fn brought(count: u32, flags: EventfdFlags) -> (OwnedFd, OwnedFd) {
    let theirs = eventfd(count, flags | EventfdFlags::CLOEXEC).unwrap();
    (theirs.try_clone().unwrap(), theirs)
}

fn fit(count: u32) -> (OwnedFd, OwnedFd) {
    brought(count, EventfdFlags::NONBLOCK)
}

/// One vector that is open, in signal mode, with interrupt 0x41.
fn each(test: impl Fn(&Deferred, Msix)) {
    for vm in [Deferred::immediate(), Deferred::polled(), Deferred::spawned()] {
        let Some(vm) = vm else { return };
        let mut msix = vm.function(2);
        guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
        test(&vm, msix);
    }
}

/// Nothing is left of vector 0's.
#[track_caller]
fn expect_no_more(vm: &Deferred, msix: &mut Msix) {
    msix.flush().unwrap();
    guest(msix).mask(0);
    assert!(!guest(msix).is_pending(0));
    vm.fixture.apic().expect_nothing();
    guest(msix).unmask(0);
    guest(msix).mask(0);
    vm.fixture.apic().expect_nothing();
    guest(msix).unmask(0);
}

#[test]
fn c13_a_callers_eventfd_signals_and_obeys_masks() {
    each(|vm, mut msix| {
        let (theirs, ours) = fit(0);
        let producer = Producer::of(&theirs);
        let guard = msix.adopt_irqfd(0, ours).unwrap();
        msix.flush().unwrap();
        assert_eq!(guard.vector().get(), 0);
        producer.signal();
        vm.fixture.apic().expect(0x41);
        assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
        vm.fixture.apic().expect(0x41);
        guest(&mut msix).mask(0);
        producer.signal();
        assert!(guest(&mut msix).is_pending(0));
        vm.fixture.apic().expect_nothing();
        guest(&mut msix).unmask(0);
        vm.fixture.apic().expect(0x41);
        expect_no_more(vm, &mut msix);
        // The caller's own outlives the guard, and reaches nobody then.
        drop(guard);
        producer.signal();
        assert!(!is_assigned(&vm.fixture.vm, &producer.into_eventfd()));
        expect_no_more(vm, &mut msix);
        assert_eq!(vm.fixture.router.gsis_in_use(), 0);
    });
}

#[test]
fn c3_what_waits_in_a_callers_eventfd_is_delivered_once() {
    each(|vm, mut msix| {
        let _guard = msix.adopt_irqfd(0, fit(3).1).unwrap();
        msix.flush().unwrap();
        vm.fixture.apic().expect(0x41);
        expect_no_more(vm, &mut msix);
    });
}

#[test]
fn c3_c13_both_eventfds_contents_are_pending_and_delivered_as_one_and_the_old_one_is_dead() {
    each(|vm, mut msix| {
        let old = msix.get_irqfd(0).unwrap();
        msix.flush().unwrap();
        guest(&mut msix).mask(0);
        Producer::of(&old).signal();
        let (theirs, ours) = fit(1);
        let new = msix.adopt_irqfd(0, ours).unwrap();
        assert!(guest(&mut msix).is_pending(0));
        vm.fixture.apic().expect_nothing();
        guest(&mut msix).unmask(0);
        vm.fixture.apic().expect(0x41);
        expect_no_more(vm, &mut msix);

        for masked in [false, true] {
            if masked {
                guest(&mut msix).mask(0);
            }
            Producer::of(&old).signal();
            assert!(!guest(&mut msix).is_pending(0));
            assert!(!is_assigned(&vm.fixture.vm, &Producer::of(&old).into_eventfd()));
        }
        guest(&mut msix).unmask(0);
        expect_no_more(vm, &mut msix);
        // It holds the vector in irqfd mode all the same.
        drop(new);
        Producer::of(&theirs).signal();
        vm.fixture.apic().expect(0x41);
        drop(old);
        assert_eq!(vm.fixture.router.gsis_in_use(), 0);
        assert!(!is_assigned(&vm.fixture.vm, &Producer::of(&theirs).into_eventfd()));
    });
}

/// What the old one had not passed on is pending still, when the new one has nothing.
#[test]
fn c3_what_waits_in_the_old_eventfd_stays_with_the_vector() {
    each(|vm, mut msix| {
        let old = msix.get_irqfd(0).unwrap();
        guest(&mut msix).mask(0);
        Producer::of(&old).signal();
        let _new = msix.adopt_irqfd(0, fit(0).1).unwrap();
        assert!(guest(&mut msix).is_pending(0));
        guest(&mut msix).unmask(0);
        assert_eq!(vm.fixture.apic().requested(), [0x41]);
        vm.fixture.apic().clear();
        expect_no_more(vm, &mut msix);
    });
}

/// Each write meets another moment of the exchange, of one or of the other eventfd.
#[test]
fn c3_a_signal_while_eventfds_are_exchanged_is_delivered_once() {
    each(|vm, mut msix| {
        let mut guard = msix.get_irqfd(0).unwrap();
        msix.flush().unwrap();
        for round in 0..300 {
            let (theirs, ours) = fit(0);
            let producer =
                if round % 2 == 0 { Producer::of(&guard) } else { Producer::of(&theirs) };
            if round % 2 == 1 {
                // Of the new one: before, during, or after.
                producer.signal();
                guard = msix.adopt_irqfd(0, ours).unwrap();
            } else {
                let spins = round * 20;
                let writer = std::thread::spawn(move || {
                    (0..spins).for_each(|_| std::hint::spin_loop());
                    producer.signal();
                });
                writer.join().unwrap();
                let old = std::mem::replace(&mut guard, msix.adopt_irqfd(0, ours).unwrap());
                drop(old);
            }
            vm.committer.run_pending();
            vm.fixture.apic().expect(0x41);
        }
        expect_no_more(vm, &mut msix);
    });
}

#[track_caller]
fn expect_refusal(msix: &Msix, fd: OwnedFd, fault: EventfdFault) {
    let error = msix.adopt_irqfd(0, fd).unwrap_err();
    assert!(matches!(error, MsixError::Irqfd { .. }), "{error}");
    let source = error.source().unwrap().downcast_ref::<KvmError>().unwrap();
    assert!(matches!(source, KvmError::Eventfd(found) if *found == fault), "{source}");
}

#[test]
fn c13_blocking_and_semaphore_eventfds_and_what_is_none_are_refused_and_left_alone() {
    let refused = [
        (EventfdFlags::empty(), EventfdFault::Blocking),
        (EventfdFlags::NONBLOCK | EventfdFlags::SEMAPHORE, EventfdFault::Semaphore),
    ];
    each(|vm, mut msix| {
        let guard = msix.get_irqfd(0).unwrap();
        msix.flush().unwrap();
        for (flags, fault) in refused {
            let (theirs, ours) = brought(5, flags);
            expect_refusal(&msix, ours, fault);
            // 5 of a counter; a semaphore gives it in ones.
            let ones = if fault == EventfdFault::Semaphore { 5 } else { 1 };
            for _ in 0..ones {
                let mut count = [0; 8];
                File::from(theirs.try_clone().unwrap()).read_exact(&mut count).unwrap();
                assert_eq!(u64::from_ne_bytes(count), 5 / ones);
            }
            rustix::io::ioctl_fionbio(&theirs, true).unwrap();
            assert!(File::from(theirs).read(&mut [0; 8]).is_err());
        }
        let (reader, writer) = std::io::pipe().unwrap();
        let timer = rustix::time::timerfd_create(
            rustix::time::TimerfdClockId::Monotonic,
            rustix::time::TimerfdFlags::NONBLOCK,
        );
        let others: [OwnedFd; 5] = [
            File::open("/dev/null").unwrap().into(),
            reader.into(),
            writer.into(),
            epoll::create(CreateFlags::CLOEXEC).unwrap(),
            timer.unwrap(),
        ];
        for fd in others {
            rustix::io::ioctl_fionbio(&fd, true).unwrap();
            expect_refusal(&msix, fd, EventfdFault::NotAnEventfd);
        }

        Producer::of(&guard).signal();
        vm.fixture.apic().expect(0x41);
        expect_no_more(vm, &mut msix);
        assert_eq!(vm.fixture.router.gsis_in_use(), 1);
    });
}

/// KVM takes no eventfd twice. The vector that had it keeps it; the other one goes on, or is closed and listed.
#[test]
fn c11_an_eventfd_that_another_vector_has_is_reported_and_the_other_keeps_it() {
    each(|vm, mut msix| {
        let (theirs, ours) = fit(0);
        let _first = msix.adopt_irqfd(0, ours).unwrap();
        msix.flush().unwrap();
        guest(&mut msix).program(1, to_apic(0, 0x42));
        guest(&mut msix).unmask(1);
        let second = msix.adopt_irqfd(1, theirs.as_fd().try_clone_to_owned().unwrap());
        match &second {
            // Known at once.
            Err(error) => {
                assert!(matches!(error, MsixError::Irqfd { .. }), "{error}");
                assert_eq!(msix.trigger(1).unwrap(), Signal::Sent);
                vm.fixture.apic().expect(0x42);
                assert!(msix.flush().is_ok());
            }
            Ok(_) => {
                assert!(msix.flush().is_err());
                assert_eq!(unsynced(&msix), [1]);
                assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
                assert!(guest(&mut msix).is_pending(1));
            }
        }
        if vm.committer.descriptor().is_none() {
            assert!(second.is_err());
        }
        Producer::of(&theirs).signal();
        vm.fixture.apic().expect(0x41);
        // Without the eventfd it is in signal mode again, when it is tried again.
        drop(second);
        let _ = msix.flush();
        guest(&mut msix).mask(1);
        guest(&mut msix).unmask(1);
        msix.flush().unwrap();
        vm.fixture.apic().clear();
        assert_eq!(msix.trigger(1).unwrap(), Signal::Sent);
        assert_eq!(vm.fixture.apic().requested(), [0x42]);
    });
}
