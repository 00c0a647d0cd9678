//! Routes that KVM refuses and irqfds that it does not take, late.

use std::os::fd::AsFd;

use vm_msix_kvm::model::Call;

use crate::actors::brought;
use crate::explore::{explore, explore_function};
use crate::oracle::message;
use crate::world::{Commits, Function, World, join};

/// A route that is refused late, against a mask and a rewrite to one that is taken.
///
/// Kills: failure-keeps-latch-open.
#[test]
fn a_refusal_comes_late() {
    explore_function(1, |world, function| {
        let (guard, producer) = function.irqfd(0);
        world.vm.refuse(Call::Route, message(function.place(0), 1).data);
        let producers = [producer.spawn(1), function.device(0).spawn(1)];
        function.unmask(0);
        function.mask(0);
        function.unmask(0);
        function.rewrite(0);
        join(producers);
        world.judge(&[function]);
        drop(guard);
    });
}

/// A route that is refused late, against a rewrite without a mask: the failure is not the new route's.
///
/// Kills: failure-of-old-route, refusals-unheard.
#[test]
fn a_refusal_is_of_its_own_route() {
    explore_function(1, |world, function| {
        let (guard, producer) = function.irqfd(0);
        world.vm.refuse(Call::Route, message(function.place(0), 1).data);
        function.unmask(0);
        function.program(0);
        // A write that changes nothing, for the core to hear what happened.
        function.unmask(0);
        producer.signal();
        world.judge(&[function]);
        drop(guard);
    });
}

/// A route that is refused stays so: the core hears of it, and what it thinks closed keeps what comes.
///
/// Kills: refusal-takes-all, refused-route-kept.
#[test]
fn a_refused_vector_sends_nothing() {
    explore_function(2, |world, function| {
        let (guard, producer) = function.irqfd(0);
        let (other, other_producer) = function.irqfd(1);
        world.vm.refuse(Call::Route, message(function.place(0), 2).data);
        let other_producer = other_producer.spawn(1);
        function.unmask(0);
        function.unmask(1);
        function.rewrite(0);
        world.rest();
        expect_closed(world, function);
        producer.signal();
        assert!(function.is_pending(0));
        function.rewrite(0);
        join([other_producer]);
        world.judge(&[function]);
        drop((guard, other));
    });
}

/// The core has vector 0 for closed, and it is.
fn expect_closed(world: &World, function: &Function) {
    // A write that changes nothing, for the core to hear what happened.
    function.unmask(1);
    let unsynced: Vec<_> = function.lock().unsynced().map(|vector| vector.get()).collect();
    assert_eq!(unsynced, [0]);
    // If it were open, this would be reported as sent while masked.
    world.oracle.has_masked(function.place(0));
}

/// Where vCPUs commit, whoever asks for a descriptor that KVM does not take, or brings one, is told at once; and the
/// vector is what it was.
///
/// Kills: brought-unheard, undone-keeps-brought, undone-not-forgotten, undone-not-queued, undone-stays-closed.
#[test]
fn a_descriptor_that_is_not_taken_changes_nothing() {
    explore(|| {
        let world = World::with(4, Commits::Immediate);
        let function = world.function(0, 1);
        function.unmask(0);
        let device = function.device(0).spawn(1);
        world.vm.refuse(Call::Route, message(function.place(0), 1).data);
        assert!(function.lock().get_irqfd(0).is_err(), "the route was refused");
        world.vm.relent();
        join([device]);
        world.judge(&[&function]);
        world.expect_empty();
        let (guard, producer) = function.irqfd(0);
        let device = function.device(0).spawn(1);
        world.vm.fail_assigns(1);
        assert!(function.lock().adopt_irqfd(0, brought()).is_err(), "the eventfd was not taken");
        join([device]);
        producer.signal();
        world.judge(&[&function]);
        drop(guard);
        world.end([function]);
    });
}

/// An assign fails late, and the guest or a flush tries again.
///
/// Kills: failure-unheard, finish-before-commit.
#[test]
fn an_assign_fails_late() {
    explore_function(1, |world, function| {
        let (guard, producer) = function.irqfd(0);
        world.vm.fail_assigns(1);
        let producer = producer.spawn(1);
        function.unmask(0);
        function.rewrite(0);
        world.rest();
        // Until the core has heard of every failure, and tried again.
        (0..2).for_each(|_| drop(function.lock().flush()));
        join([producer]);
        world.judge(&[function]);
        assert!(guard.as_fd().try_clone_to_owned().is_ok());
        drop(guard);
    });
}
