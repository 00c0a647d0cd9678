//! Descriptors that are asked for and let go of while something else goes on, or fails (C3, C4, C11, C13).

use std::error::Error;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use vm_msix::{MsiMessage, MsixError, MsixObserver, Signal, VectorIndex};
use vm_msix_kvm::{Committer, RequesterId, Translate};

use crate::support::deferred::{Deferred, eventfd};
use crate::support::fixture::{Fixture, function};
use crate::support::gated::{Gated, Stop};
use crate::support::long::times;
use crate::support::producer::{Producer, is_assigned};
use crate::support::tables::Failing;
use crate::support::taps::{Log, Remapper, Rule};
use crate::support::wait::until;
use crate::support::{guest, to_apic, unsynced};

/// Holds up, once, a vCPU that opens the vector with interrupt 0x40.
struct HoldUp {
    once: Arc<AtomicBool>,
    begin: mpsc::Sender<()>,
    end: Mutex<mpsc::Receiver<()>>,
}

impl Translate for HoldUp {
    fn translate(&self, _: RequesterId, message: MsiMessage) -> Option<MsiMessage> {
        if message.data == 0x40 && self.once.swap(false, Ordering::AcqRel) {
            self.begin.send(()).unwrap();
            // Gone: the test has failed.
            let _ = self.end.lock().unwrap().recv();
        }
        Some(message)
    }
}

fn has_signals(eventfd: &Producer) -> bool {
    let mut polled = [PollFd::new(eventfd, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).unwrap() == 1
}

/// A guard goes while a register write is under way, and is late to forget its eventfd: the write has done so, and the vector
/// has a new one by then.
#[test]
fn c4_a_guard_that_goes_late_leaves_its_vectors_next_eventfd_alone() {
    let Some(fixture) = Fixture::new() else { return };
    for round in 0..times(100, 5000) {
        let (once, (begin, begun), (go, end)) =
            (Arc::new(AtomicBool::new(false)), mpsc::channel(), mpsc::channel());
        let hold_up = HoldUp { once: once.clone(), begin, end: Mutex::new(end) };
        let mut msix = function(2, fixture.delivery().with_translate(hold_up));
        guest(&mut msix).bring_up(&[to_apic(0, 0x40), to_apic(0, 0x41)]);
        let _other = msix.get_irqfd(0).unwrap();
        let guard = msix.get_irqfd(1).unwrap();
        let left = Producer::of(&guard);
        guest(&mut msix).mask_function();
        once.store(true, Ordering::Release);
        let vcpu = thread::spawn(move || {
            guest(&mut msix).unmask_function();
            let next = msix.get_irqfd(1).unwrap();
            (msix, next)
        });
        begun.recv().unwrap();
        left.signal();
        let leaving = thread::spawn(move || drop(guard));
        // It is emptied just before it is to be forgotten.
        until("the guard to let go", || !has_signals(&left));
        thread::yield_now();
        drop(go);
        let (mut msix, next) = vcpu.join().unwrap();
        leaving.join().unwrap();

        guest(&mut msix).mask(1);
        fixture.apic().clear();
        assert!(!is_assigned(&fixture.vm, &eventfd(&next)), "round {round}: open under a mask");
        Producer::of(&next).signal();
        assert!(guest(&mut msix).is_pending(1), "round {round}");
        guest(&mut msix).unmask(1);
        fixture.apic().expect(0x41);
    }
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

/// Whoever joins first hears that the commit failed; whoever joined meanwhile gets another attempt.
#[test]
fn c11_who_joins_while_a_join_fails_has_a_descriptor_that_delivers() {
    let Some(fixture) = Fixture::new() else { return };
    let failing = Arc::new(Failing::new(fixture.router.clone()));
    let gated = Arc::new(Gated::new(failing.clone()));
    let mut msix = function(1, fixture.delivery_with(gated.clone()));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    failing.fail(0x41, libc::EINVAL);
    gated.hold(Stop::After);
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| msix.get_irqfd(0));
        gated.wait_until_held();
        let second = msix.get_irqfd(0);
        failing.relent();
        gated.let_go();
        (first.join().unwrap(), second.unwrap())
    });
    assert!(matches!(first, Err(MsixError::Irqfd { .. })), "{first:?}");
    msix.flush().unwrap();
    assert!(is_assigned(&fixture.vm, &eventfd(&second)));
    Producer::of(&second).signal();
    fixture.apic().expect(0x41);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    fixture.apic().expect(0x41);
    drop(second);
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

/// The commits of both fail, at whatever moment the other is: a vector that is closed by it is listed.
#[test]
fn c11_two_joins_that_fail_leave_the_vector_open_or_listed() {
    let Some(fixture) = Fixture::new() else { return };
    let failing = Arc::new(Failing::new(fixture.router.clone()));
    failing.fail(0x41, libc::EINVAL);
    let mut msix = function(2, fixture.delivery_with(failing));
    for round in 0..times(2000, 200_000) {
        guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
        let barrier = Barrier::new(2);
        let join = || {
            barrier.wait();
            msix.get_irqfd(0)
        };
        let guards = thread::scope(|scope| {
            let other = scope.spawn(join);
            [join(), other.join().unwrap()]
        });
        let signal = msix.trigger(0).unwrap();
        // Hears what there is to hear.
        guest(&mut msix).mask(1);
        let expected: &[u16] = if signal == Signal::Latched { &[0] } else { &[] };
        assert_eq!(unsynced(&msix), expected, "round {round}: {guards:?}");
        drop(guards);
        msix.reset();
    }
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

/// What an observer is told of failures.
#[derive(Clone, Default)]
struct Failures(Log<u16>);

impl MsixObserver for Failures {
    fn route_failed(&self, vector: VectorIndex, _: &dyn Error) {
        self.0.push(vector.get());
    }
}

/// What waits in an eventfd goes to the latch with its last guard, and a translation may be in the way.
#[test]
fn c3_c11_what_the_last_guard_leaves_and_cannot_be_sent_stays_pending_until_flush() {
    let Some(fixture) = Fixture::new() else { return };
    let committer = Committer::polled(fixture.router.clone()).unwrap();
    let (remapper, failures) = (Remapper::default(), Failures::default());
    let msix = function(2, fixture.delivery_by(committer).with_translate(remapper.clone()));
    let mut msix = msix.with_observer(failures.clone());
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    Producer::of(&guard).signal();
    // 8-bit destination IDs have no upper half.
    remapper.set(Rule::Become(MsiMessage::new(0x1_fee0_0000, 0x41)));
    drop(guard);
    assert!(guest(&mut msix).is_pending(0));
    guest(&mut msix).mask(1);
    assert_eq!(failures.0.take(), [0]);
    assert_eq!(unsynced(&msix), [0]);
    fixture.apic().expect_nothing();

    remapper.set(Rule::Pass);
    msix.flush().unwrap();
    assert_eq!(fixture.apic().requested(), [0x41]);
    assert!(!guest(&mut msix).is_pending(0));
    assert_eq!(unsynced(&msix), [] as [u16; 0]);
    assert_eq!(failures.0.take(), [] as [u16; 0]);
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

/// KVM takes no eventfd twice. A vector that has a descriptor of its own goes on with that.
#[test]
fn c11_an_eventfd_that_cannot_be_brought_leaves_the_vector_the_one_that_it_has() {
    let Some(vm) = Deferred::immediate() else { return };
    let mut msix = vm.function(2);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_apic(0, 0x42)]);
    let guards = [0, 1].map(|vector| msix.get_irqfd(vector).unwrap());
    let taken = guards[0].as_fd().try_clone_to_owned().unwrap();
    let error = msix.adopt_irqfd(1, taken).unwrap_err();
    assert!(matches!(error, MsixError::Irqfd { .. }), "{error}");
    msix.flush().unwrap();
    assert!(guards.iter().all(|guard| vm.is_assigned(guard)));
    assert_eq!(msix.trigger(1).unwrap(), Signal::Sent);
    vm.fixture.apic().expect(0x42);
    for (guard, interrupt) in guards.iter().zip([0x41, 0x42]) {
        Producer::of(guard).signal();
        vm.fixture.apic().expect(interrupt);
    }
    drop(guards);
    assert_eq!(vm.fixture.router.gsis_in_use(), 0);
}
