//! Into irqfd mode and out of it, and eventfds that change their vectors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use shuttle::thread;
use vm_msix::MsiMessage;
use vm_msix_kvm::{RequesterId, Translate};

use crate::actors::brought;
use crate::explore::{explore, explore_function};
use crate::oracle::TRANSLATED;
use crate::world::{Commits, World, join};

/// A vector is put on a descriptor and off again while the guest masks it and the device signals. The guard goes where no
/// lock is held.
///
/// Kills: given-back-never.
#[test]
fn a_descriptor_comes_and_goes() {
    explore_function(1, |world, function| {
        function.unmask(0);
        let holder = function.spawn_holder(0);
        let device = function.device(0).spawn(1);
        function.mask(0);
        function.unmask(0);
        function.rewrite(0);
        join([holder, device]);
        world.judge(&[function]);
    });
}

/// The same where the vCPU commits for itself.
///
/// Kills: join-under-vector-lock, withdrawn-stays-queued.
#[test]
fn a_descriptor_comes_and_goes_beside_immediate_commits() {
    explore(|| {
        let world = World::with(4, Commits::Immediate);
        let function = world.function(0, 1);
        let holder = function.spawn_holder(0);
        let device = function.device(0).spawn(1);
        function.unmask(0);
        function.rewrite(0);
        join([holder, device]);
        world.judge(&[&function]);
        world.end([function]);
    });
}

/// A vector that is open is put on a descriptor, which stays.
///
/// Kills: join-not-queued, joined-as-closed.
#[test]
fn an_open_vector_is_put_on_a_descriptor() {
    explore_function(1, |world, function| {
        function.unmask(0);
        let device = function.device(0).spawn(2);
        let (guard, producer) = function.irqfd(0);
        producer.signal();
        join([device]);
        world.judge(&[function]);
        drop(guard);
    });
}

/// What is pending is seen to be, wherever it is moved.
///
/// Kills: end-without-kick, forgotten-early, pending-latches-first.
#[test]
fn a_pending_bit_stays_set() {
    explore_function(1, |world, function| {
        let (guard, producer) = function.irqfd(0);
        producer.signal();
        let holder = thread::spawn(move || drop(guard));
        for _ in 0..4 {
            assert!(function.is_pending(0));
        }
        join([holder]);
        world.judge(&[function]);
    });
}

/// Two holders of one vector come and go, and the PBA is read.
///
/// Kills: forgotten-although-held.
#[test]
fn two_holders_come_and_go() {
    explore_function(1, |world, function| {
        let holders = [function.spawn_holder(0), function.spawn_holder(0)];
        function.unmask(0);
        function.is_pending(0);
        function.mask(0);
        join(holders);
        world.judge(&[function]);
        function.unmask(0);
    });
}

/// Another eventfd takes the place of the one that a vector has, while the guest masks it.
///
/// Kills: exchange-without-withdraw, leave-under-vector-lock.
#[test]
fn an_eventfd_is_brought() {
    explore_function(1, |world, function| {
        let (first, producer) = function.irqfd(0);
        producer.signal();
        let adopter = function.clone();
        let adopter = thread::spawn(move || {
            let guard = adopter.lock().adopt_irqfd(0, brought()).unwrap();
            let producer = adopter.producer(0, &guard);
            drop(first);
            producer.signal();
            adopter.is_pending(0);
            drop(guard);
        });
        let device = function.device(0).spawn(1);
        function.unmask(0);
        function.rewrite(0);
        join([adopter, device]);
        world.judge(&[function]);
    });
}

/// An eventfd is brought while the one before, without a holder, is on its way out of the map, and translations have
/// changed their mind since.
///
/// Kills: none.
#[test]
fn an_eventfd_is_brought_where_one_was_left() {
    explore_function(1, |world, function| {
        let backend = function.lock().backend().clone();
        let (guard, _) = function.irqfd(0);
        function.unmask(0);
        let holder = thread::spawn(move || drop(guard));
        let iommu = thread::spawn(move || backend.invalidate_translations());
        let guard = function.lock().adopt_irqfd(0, brought()).unwrap();
        function.producer(0, &guard).signal();
        join([holder, iommu]);
        world.judge(&[function]);
        drop(guard);
    });
}

/// An eventfd is on its way out of the map; a register write takes it off, and its vector gets another one.
///
/// Kills: another-forgotten.
#[test]
fn a_vector_that_was_left_has_another_eventfd() {
    explore_function(1, |world, function| {
        let (guard, _) = function.irqfd(0);
        function.unmask(0);
        let holder = thread::spawn(move || drop(guard));
        function.rewrite(0);
        let (guard, producer) = function.irqfd(0);
        join([holder]);
        function.mask(0);
        producer.signal();
        assert!(function.is_pending(0));
        function.unmask(0);
        world.judge(&[function]);
        drop(guard);
    });
}

/// Two vectors exchange their eventfds while their producers signal and the guest masks one of them.
///
/// Kills: swap-not-queued.
#[test]
fn eventfds_change_places() {
    explore_function(2, |world, function| {
        world.oracle.join(function.place(0), function.place(1));
        let (first, producer) = function.irqfd(0);
        let (second, _) = function.irqfd(1);
        function.unmask(0);
        function.unmask(1);
        let producer = producer.spawn(1);
        let swapper = function.clone();
        let swapper = thread::spawn(move || {
            swapper.lock().swap_irqfds(0, 1).unwrap();
            swapper.is_pending(0);
        });
        function.rewrite(0);
        join([producer, swapper]);
        world.judge(&[function]);
        assert_eq!(first.vector().get(), 1);
        drop((first, second));
    });
}

/// The same where one vector has none, and its eventfd's holder goes meanwhile.
///
/// Kills: left-with-irqfd, table-taken-for-granted.
#[test]
fn an_eventfd_changes_its_vector_while_its_holder_goes() {
    explore_function(2, |world, function| {
        world.oracle.join(function.place(0), function.place(1));
        let (guard, producer) = function.irqfd(0);
        function.unmask(0);
        function.unmask(1);
        let holder = thread::spawn(move || {
            producer.signal();
            drop(guard);
        });
        function.lock().swap_irqfds(0, 1).unwrap();
        function.rewrite(1);
        function.lock().swap_irqfds(0, 1).unwrap();
        join([holder]);
        world.judge(&[function]);
    });
}

/// Translations change their mind again and again, against masks, guards, the committer and producers.
///
/// Kills: gsi-kept, translation-not-queued.
#[test]
fn translations_are_invalidated() {
    explore(|| {
        let world = World::new();
        let remapper = Remapper::default();
        let delivery = world.delivery().with_translate(remapper.clone());
        let function = world.function_by(delivery, 0, 1);
        let backend = function.lock().backend().clone();
        let (guard, producer) = function.irqfd(0);
        let producer = producer.spawn(1);
        let holder = function.spawn_holder(0);
        let iommu = thread::spawn(move || {
            for _ in 0..2 {
                remapper.change_mind();
                backend.invalidate_translations();
            }
        });
        function.unmask(0);
        function.rewrite(0);
        join([producer, holder, iommu]);
        world.judge(&[&function]);
        drop(guard);
        world.end([function]);
    });
}

/// An eventfd without a holder, on its way out of the map, changes its vector, and translations change their mind: the
/// vector where it comes is masked, and stays so.
///
/// Kills: moved-with-old-route.
#[test]
fn an_eventfd_that_is_left_opens_nothing() {
    explore_function(2, |world, function| {
        let backend = function.lock().backend().clone();
        let (guard, _) = function.irqfd(0);
        function.unmask(0);
        let holder = thread::spawn(move || drop(guard));
        let iommu = thread::spawn(move || backend.invalidate_translations());
        function.lock().swap_irqfds(0, 1).unwrap();
        join([holder, iommu]);
        function.device(1).signal();
        world.judge(&[function]);
    });
}

/// Sets a bit in messages, or does not.
#[derive(Clone, Default)]
struct Remapper(Arc<AtomicU32>);

impl Remapper {
    fn change_mind(&self) {
        self.0.fetch_xor(TRANSLATED, Ordering::Relaxed);
    }
}

impl Translate for Remapper {
    fn translate(&self, _requester: RequesterId, message: MsiMessage) -> Option<MsiMessage> {
        let bit = self.0.load(Ordering::Relaxed);
        Some(MsiMessage::new(message.address, message.data | bit))
    }
}
