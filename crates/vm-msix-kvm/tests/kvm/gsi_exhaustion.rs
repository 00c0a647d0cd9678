//! No GSI to be had: the vector's eventfd is polled, and it is delivered all the same (C11).

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use vm_msix::{MsiMessage, MsixError, MsixObserver, VectorIndex};
use vm_msix_kvm::{Committer, Gsi, Irqfd, KvmError, RouteTable, Router, RouterObserver};

use crate::support::fixture::{Fixture, function};
use crate::support::long::allow_descriptors;
use crate::support::producer::{Producer, is_assigned};
use crate::support::taps::{Log, Remapper, Rule};
use crate::support::{Msix, guest, to_apic, unsynced};

#[derive(Clone, Default)]
struct Exhaustions(Arc<AtomicUsize>);

impl RouterObserver for Exhaustions {
    fn gsis_exhausted(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A VM all of whose GSIs are taken.
struct Rig {
    fixture: Fixture,
    committer: Arc<Committer>,
    exhaustions: Exhaustions,
    taken: Vec<Gsi>,
}

impl Rig {
    fn new(make: impl FnOnce(Arc<dyn RouteTable>) -> Arc<Committer>) -> Option<Self> {
        let mut fixture = Fixture::new()?;
        let exhaustions = Exhaustions::default();
        let router = Router::new(fixture.vm.clone(), Router::irqchip_entries());
        fixture.router = Arc::new(router.with_observer(exhaustions.clone()));
        let taken: Vec<_> = std::iter::from_fn(|| fixture.router.allocate().ok()).collect();
        assert_eq!(exhaustions.0.swap(0, Ordering::SeqCst), 1);
        let committer = make(fixture.router.clone());
        Some(Self { fixture, committer, exhaustions, taken })
    }

    fn polled() -> Option<Self> {
        Self::new(|table| Committer::polled(table).unwrap())
    }

    fn spawned() -> Option<Self> {
        Self::new(|table| Committer::spawn(table).unwrap())
    }

    /// One vector on a descriptor, open, with interrupt 0x41.
    fn function(&self) -> (Msix, Irqfd) {
        let mut msix = function(1, self.fixture.delivery_by(self.committer.clone()));
        let guard = msix.get_irqfd(0).unwrap();
        guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
        (msix, guard)
    }
}

#[test]
fn c11_a_vector_without_a_gsi_delivers_by_the_thread_and_obeys_masks() {
    let Some(rig) = Rig::spawned() else { return };
    let (mut msix, guard) = rig.function();
    assert!(rig.exhaustions.0.load(Ordering::SeqCst) > 0);
    assert_eq!(msix.backend().polled_vectors(), 1);
    assert_eq!(unsynced(&msix), [] as [u16; 0]);
    for _ in 0..50 {
        Producer::of(&guard).signal();
        rig.fixture.apic().expect(0x41);
        guest(&mut msix).mask(0);
        assert_eq!(msix.backend().polled_vectors(), 0);
        assert!(!guest(&mut msix).is_pending(0));
        Producer::of(&guard).signal();
        Producer::of(&guard).signal();
        msix.trigger(0).unwrap();
        assert!(guest(&mut msix).is_pending(0));
        rig.fixture.apic().expect_nothing();
        guest(&mut msix).unmask(0);
        // By the unmask itself, for it moves to the latch.
        assert_eq!(rig.fixture.apic().requested(), [0x41]);
        rig.fixture.apic().clear();
        guest(&mut msix).mask(0);
        rig.fixture.apic().expect_nothing();
        assert!(!guest(&mut msix).is_pending(0));
        guest(&mut msix).unmask(0);
    }
    assert!(!is_assigned(&rig.fixture.vm, &Producer::of(&guard).into_eventfd()));
    drop(guard);
    assert_eq!(msix.backend().polled_vectors(), 0);
    msix.trigger(0).unwrap();
    assert_eq!(rig.fixture.apic().requested(), [0x41]);
}

#[test]
fn c4_c13_a_close_takes_the_descriptor_out_of_the_poll_set() {
    let Some(rig) = Rig::polled() else { return };
    let (mut msix, guard) = rig.function();
    let is_readable = || {
        let descriptor = rig.committer.descriptor().unwrap();
        let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).unwrap() == 1
    };
    rig.committer.run_pending();
    assert!(!is_readable());
    Producer::of(&guard).signal();
    assert!(is_readable());
    rig.fixture.apic().expect_nothing();
    rig.committer.run_pending();
    assert_eq!(rig.fixture.apic().requested(), [0x41]);
    rig.fixture.apic().clear();
    assert!(!is_readable());

    // Nobody has read it when the vector closes, and nobody does after that.
    Producer::of(&guard).signal();
    guest(&mut msix).mask(0);
    assert!(!is_readable());
    for _ in 0..2 {
        rig.committer.run_pending();
        rig.fixture.apic().expect_nothing();
        assert!(guest(&mut msix).is_pending(0));
        Producer::of(&guard).signal();
    }
    guest(&mut msix).unmask(0);
    assert_eq!(rig.fixture.apic().requested(), [0x41]);
    rig.fixture.apic().clear();
    rig.committer.run_pending();
    rig.fixture.apic().expect_nothing();
    assert!(!guest(&mut msix).is_pending(0));
}

#[test]
fn c11_when_gsis_are_free_again_the_next_opening_takes_one() {
    let Some(rig) = Rig::polled() else { return };
    let (mut msix, guard) = rig.function();
    rig.fixture.router.release(&rig.taken);
    assert_eq!(msix.backend().polled_vectors(), 1);
    Producer::of(&guard).signal();
    guest(&mut msix).mask(0);
    guest(&mut msix).unmask(0);
    assert_eq!(rig.fixture.apic().requested(), [0x41]);
    rig.fixture.apic().clear();
    rig.committer.run_pending();
    assert_eq!(msix.backend().polled_vectors(), 0);
    assert_eq!(rig.fixture.router.gsis_in_use(), 1);
    assert!(is_assigned(&rig.fixture.vm, &Producer::of(&guard).into_eventfd()));
    // By KVM alone: the committer is not asked.
    Producer::of(&guard).signal();
    rig.fixture.apic().expect(0x41);
    drop(guard);
    assert_eq!(rig.fixture.router.gsis_in_use(), 0);
}

#[test]
fn c11_with_nobody_to_poll_get_irqfd_says_that_gsis_are_exhausted() {
    let Some(rig) = Rig::new(Committer::immediate) else { return };
    let mut msix = function(1, rig.fixture.delivery_by(rig.committer.clone()));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let error = msix.get_irqfd(0).unwrap_err();
    assert!(matches!(error, MsixError::Irqfd { .. }), "{error}");
    let source = error.source().unwrap().downcast_ref::<KvmError>().unwrap();
    assert!(matches!(source, KvmError::GsisExhausted { limit: 4096 }), "{source}");
    msix.trigger(0).unwrap();
    assert_eq!(rig.fixture.apic().requested(), [0x41]);
    assert!(msix.flush().is_ok());
}

#[derive(Clone, Default)]
struct Failures(Log<u16>);

impl MsixObserver for Failures {
    fn route_failed(&self, vector: VectorIndex, _: &dyn Error) {
        self.0.push(vector.get());
    }
}

/// A translation may come to another mind while the vector is open; what was read from the eventfd is not lost by it.
#[test]
fn c3_c11_a_polled_signal_that_cannot_be_sent_stays_pending() {
    let Some(rig) = Rig::polled() else { return };
    let (remapper, failures) = (Remapper::default(), Failures::default());
    let delivery = rig.fixture.delivery_by(rig.committer.clone());
    let msix = function(2, delivery.with_translate(remapper.clone()));
    let mut msix = msix.with_observer(failures.clone());
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_apic(0, 0x42)]);
    let guard = msix.get_irqfd(0).unwrap();
    remapper.set(Rule::Become(MsiMessage::new(0x100_fee0_0000, 0x41)));
    Producer::of(&guard).signal();
    rig.committer.run_pending();
    rig.committer.run_pending();
    assert!(guest(&mut msix).is_pending(0));
    assert_eq!(msix.backend().polled_vectors(), 0);
    guest(&mut msix).mask(1);
    assert_eq!(failures.0.take(), [0]);
    assert_eq!(unsynced(&msix), [0]);

    remapper.set(Rule::Pass);
    msix.flush().unwrap();
    assert_eq!(rig.fixture.apic().requested(), [0x41]);
    rig.fixture.apic().clear();
    assert!(!guest(&mut msix).is_pending(0));
    Producer::of(&guard).signal();
    rig.committer.run_pending();
    assert_eq!(rig.fixture.apic().requested(), [0x41]);
    assert_eq!(failures.0.take(), [] as [u16; 0]);
}

/// More than KVM has GSIs: 4056 by KVM, the rest by the thread, and nobody can tell which.
#[test]
fn c11_five_thousand_descriptors_all_deliver() {
    if !allow_descriptors(8192) {
        return;
    }
    let Some(fixture) = Fixture::new() else { return };
    let committer = Committer::spawn(fixture.router.clone()).unwrap();
    let messages: Vec<_> = (0..1000).map(|vector| to_apic(0, 0x40 + (vector % 64) as u8)).collect();
    let mut functions: Vec<_> = (0..5)
        .map(|_| {
            let mut msix = function(1000, fixture.delivery_by(committer.clone()));
            guest(&mut msix).enable();
            guest(&mut msix).mask_function();
            for (vector, message) in (0..).zip(&messages) {
                guest(&mut msix).program(vector, *message);
                guest(&mut msix).unmask(vector);
            }
            let guards: Vec<_> = (0..1000).map(|vector| msix.get_irqfd(vector).unwrap()).collect();
            guest(&mut msix).unmask_function();
            (msix, guards)
        })
        .collect();
    let polled: usize = functions.iter().map(|(msix, _)| msix.backend().polled_vectors()).sum();
    assert_eq!(polled, 5000 - (4096 - 40));
    for (msix, guards) in &mut functions {
        msix.flush().unwrap();
        for (guard, message) in guards.iter().zip(&messages) {
            Producer::of(guard).signal();
            fixture.apic().expect(message.data as u8);
        }
    }
    functions.iter_mut().for_each(|(msix, _)| msix.reset());
    assert_eq!(fixture.router.gsis_in_use(), 0);
}
