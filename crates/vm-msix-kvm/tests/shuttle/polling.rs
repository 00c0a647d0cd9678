//! Vectors for which there is no GSI, so that the committer's thread polls their eventfds.

use shuttle::thread;

use crate::explore::explore;
use crate::world::{Commits, World, join};

/// A polled vector opens and closes while its producer signals.
///
/// Kills: counter-not-moved, polled-closed-not-drained.
#[test]
fn a_polled_vector_opens_and_closes() {
    explore(|| {
        let world = World::with(0, Commits::Thread);
        let function = world.function(0, 1);
        let (guard, producer) = function.irqfd(0);
        let producers = [producer.spawn(2), function.device(0).spawn(1)];
        function.unmask(0);
        function.rewrite(0);
        function.mask(0);
        join(producers);
        world.judge(&[&function]);
        drop(guard);
        function.unmask(0);
        world.end([function]);
    });
}

/// KVM does not take what came into a polled eventfd: it waits for the guest, or a flush, to try again.
///
/// Kills: unsent-is-lost.
#[test]
fn what_is_not_taken_waits() {
    explore(|| {
        let world = World::with(0, Commits::Thread);
        let function = world.function(0, 1);
        let (guard, producer) = function.irqfd(0);
        function.unmask(0);
        world.vm.fail_signals(1);
        let producer = producer.spawn(1);
        function.rewrite(0);
        join([producer]);
        world.rest();
        // Until the core has heard of every failure, and tried again.
        (0..2).for_each(|_| drop(function.lock().flush()));
        world.judge(&[&function]);
        drop(guard);
        world.end([function]);
    });
}

/// One GSI for two: which of them is polled changes while both signal, and a guard goes.
///
/// Kills: poll-set-kept.
#[test]
fn two_vectors_have_one_gsi() {
    explore(|| {
        let world = World::with(1, Commits::Thread);
        let functions = [0, 1].map(|number| world.function(number, 1));
        let (guard, producer) = functions[0].irqfd(0);
        let (other_guard, other_producer) = functions[1].irqfd(0);
        functions[0].unmask(0);
        let holder = thread::spawn(move || {
            producer.signal();
            drop(guard);
        });
        let producer = other_producer.spawn(1);
        functions[1].unmask(0);
        functions[1].rewrite(0);
        functions[0].rewrite(0);
        join([holder, producer]);
        world.judge(&functions.each_ref());
        drop(other_guard);
        world.end(functions);
    });
}

/// A polled eventfd changes places with one that KVM has.
///
/// Kills: polled-without-vector-lock, swap-without-withdraw.
#[test]
fn a_polled_eventfd_changes_its_vector() {
    explore(|| {
        let world = World::with(1, Commits::Thread);
        let function = world.function(0, 2);
        world.oracle.join(function.place(0), function.place(1));
        let (first, _) = function.irqfd(0);
        let (second, producer) = function.irqfd(1);
        function.unmask(0);
        function.unmask(1);
        let producer = producer.spawn(1);
        function.lock().swap_irqfds(0, 1).unwrap();
        function.rewrite(0);
        join([producer]);
        world.judge(&[&function]);
        drop((first, second));
        world.end([function]);
    });
}
