//! A VMM that cannot do what it is asked for, and says so late.

use vm_msix_kvm::model::Call;

use crate::explore::{explore, explore_function};
use crate::oracle::message;
use crate::world::{Commits, World, join};

/// A route that is refused late, against a mask and a rewrite to one that is taken.
///
/// Kills: none.
#[test]
fn a_refusal_comes_late() {
    explore_function(1, |world, function| {
        world.kvm().refuse(Call::Route, message(function.place(0), 1).data);
        let devices = [1, 1].map(|times| function.device(0).spawn(times));
        function.unmask(0);
        function.mask(0);
        function.unmask(0);
        function.rewrite(0);
        join(devices);
    });
}

/// A refused vector keeps what was handed over before anybody knew, and what comes.
///
/// Kills: late-failure-stays-open, late-failure-unheard, late-unsaid.
#[test]
fn a_refused_vector_keeps_its_signals() {
    explore_function(2, |world, function| {
        world.kvm().refuse(Call::Route, message(function.place(0), 1).data);
        let devices = [0, 1].map(|vector| function.device(vector).spawn(1));
        function.unmask(0);
        function.unmask(1);
        join(devices);
        world.rest(&[function]);
        let unsynced: Vec<_> = function.lock().unsynced().map(|vector| vector.get()).collect();
        assert_eq!(unsynced, [0]);
        // What the VMM's own latch had was sent, which takes no route.
        let has_come = world.vm.oracle.interrupts(function.place(0)) == 1;
        assert_ne!(function.is_pending(0), has_come, "what was handed over is lost");
        // If it were open, this would be reported as sent while masked.
        world.vm.oracle.has_masked(function.place(0));
        function.device(0).signal();
        function.rewrite(0);
    });
}

/// A route that is refused late, against a rewrite without a mask: the failure is not the new route's.
///
/// Kills: none.
#[test]
fn a_refusal_is_of_its_own_route() {
    explore_function(2, |world, function| {
        world.kvm().refuse(Call::Route, message(function.place(0), 1).data);
        function.unmask(0);
        let device = function.device(0).spawn(1);
        function.program(0);
        // Writes that tell nothing of it, for the core to hear what happened.
        function.unmask(1);
        function.unmask(0);
        join([device]);
    });
}

/// A refusal that is answered while a guest masks is of the route before: the mask was done.
///
/// Kills: failure-of-old-route.
#[test]
fn a_refusal_is_not_of_the_mask() {
    explore(|| {
        let world = World::with(4, Commits::Immediate);
        let function = world.function(0, 1);
        world.kvm().refuse(Call::Route, message(function.place(0), 1).data);
        let device = function.device(0).spawn(1);
        function.unmask(0);
        function.mask(0);
        join([device]);
        function.judge();
        function.rewrite(0);
        world.end([function]);
    });
}

/// KVM does not take an eventfd at first: what failed is tried again, and nothing is lost.
///
/// Kills: none.
#[test]
fn an_assign_fails_late() {
    explore_function(1, |world, function| {
        let (guard, producer) = function.irqfd(0);
        world.kvm().fail_assigns(1);
        let producers = [producer.spawn(1), function.device(0).spawn(1)];
        function.unmask(0);
        function.rewrite(0);
        join(producers);
        // Until the core has heard of every failure, and tried again.
        (0..2).for_each(|_| world.rest(&[function]));
        world.judge(&[function]);
        drop(guard);
    });
}

/// The VMM has no GSI for a vector, and does not keep its eventfd; another function's reset gives one back.
///
/// Kills: none.
#[test]
fn an_eventfd_is_not_taken() {
    explore(|| {
        let world = World::with(1, Commits::Thread);
        let functions = [0, 1].map(|number| world.function(number, 1));
        functions[0].unmask(0);
        world.rest(&[&functions[0]]);
        let device = functions[1].device(0).spawn(1);
        functions[1].unmask(0);
        functions[0].reset();
        functions[1].rewrite(0);
        join([device]);
        functions[1].mask(0);
        functions[1].judge();
        world.rest(&[]);
        functions[1].unmask(0);
        world.judge(&[&functions[1]]);
        world.finish(functions.into());
    });
}
