//! Looks at many Pending Bits at once, and signals that are taken back, while what they are about moves.

use shuttle::thread;

use crate::explore::{explore, explore_function};
use crate::world::{Commits, World, join};

/// One signal moves from its counter to the latch, one vector opens and closes beside its producer, and one with a latched
/// signal is put on a descriptor.
///
/// Kills: forgotten-early, pending-skips-latches.
#[test]
fn pending_bits_are_seen_wherever_they_are() {
    explore_function(3, |world, function| {
        let (guard, producer) = function.irqfd(0);
        producer.signal();
        let (other_guard, other_producer) = function.irqfd(1);
        function.device(2).signal();
        let threads = [
            function.looker().spawn(3),
            thread::spawn(move || drop(guard)),
            other_producer.spawn(2),
            function.spawn_holder(2),
        ];
        function.unmask(1);
        function.mask(1);
        join(threads);
        world.judge(&[function]);
        drop(other_guard);
        (0..3).for_each(|vector| function.unmask(vector));
    });
}

/// Vectors of every kind at once: with KVM, polled, and without a descriptor.
///
/// Kills: close-leaves-irqfd, pending-mixed-up, poll-set-kept, polled-closed-not-drained.
#[test]
fn a_function_is_masked_and_disabled_beside_all_its_producers() {
    explore(|| {
        let world = World::with(2, Commits::Thread);
        let function = world.function(0, 4);
        let (guards, producers): (Vec<_>, Vec<_>) = (0..3).map(|v| function.irqfd(v)).unzip();
        (0..4).for_each(|vector| function.unmask(vector));
        let looker = function.looker().spawn(2);
        let producers: Vec<_> = producers.into_iter().map(|producer| producer.spawn(1)).collect();
        let device = function.device(3).spawn(1);
        function.mask_all();
        function.unmask_all();
        function.disable();
        join(producers);
        join([looker, device]);
        world.judge(&[&function]);
        function.enable_again();
        drop(guards);
        world.end([function]);
    });
}

/// A holder goes, and what its descriptor keeps moves to the latch, while the device takes it back.
///
/// Kills: retract-latch-first, retract-leaves-counter.
#[test]
fn a_signal_is_retracted_while_it_moves() {
    explore_function(1, |_, function| {
        let (guard, producer) = function.irqfd(0);
        producer.signal();
        let holder = thread::spawn(move || drop(guard));
        assert!(function.retract(0));
        join([holder]);
        function.unmask(0);
    });
}

/// The same, and a guest that resets the function takes back the signals of all vectors.
///
/// Kills: reset-latch-first, reset-takes-all-for-empty.
#[test]
fn signals_are_forgotten_while_they_move() {
    explore_function(2, |world, function| {
        let (guards, producers): (Vec<_>, Vec<_>) = (0..2).map(|v| function.irqfd(v)).unzip();
        producers.iter().for_each(|producer| producer.signal());
        let holder = thread::spawn(move || drop(guards));
        function.reset();
        join([holder]);
        world.judge(&[function]);
        function.enable();
        (0..2).for_each(|vector| function.program(vector));
    });
}

/// Three vectors open together: one without a descriptor, one with a signal in its latch and one in its counter, which go as
/// one, and one whose counter is empty.
///
/// Kills: counters-mixed-up.
#[test]
fn counters_of_many_are_told_apart() {
    explore_function(3, |world, function| {
        let (guards, producers): (Vec<_>, Vec<_>) = (1..3).map(|v| function.irqfd(v)).unzip();
        (0..3).for_each(|vector| function.unmask(vector));
        function.mask_all();
        let looker = function.looker().spawn(2);
        producers[0].signal();
        (0..3).for_each(|vector| function.device(vector).signal());
        function.unmask_all();
        join([looker]);
        world.judge(&[function]);
        (0..3).for_each(|vector| function.expect_interrupts(vector, 1));
        drop(guards);
    });
}

/// A vector that is open, and goes on signalling, is put on a descriptor for which there is no GSI.
///
/// Kills: poll-set-kept, polled-closed-not-drained, withdrawn-counter-left.
#[test]
fn an_open_vector_is_polled_for_a_while() {
    explore(|| {
        let world = World::with(0, Commits::Thread);
        let function = world.function(0, 1);
        function.unmask(0);
        let holder = function.spawn_holder(0);
        let device = function.device(0).spawn(1);
        let looker = function.looker().spawn(2);
        function.mask(0);
        function.unmask(0);
        join([holder, device, looker]);
        world.judge(&[&function]);
        world.end([function]);
    });
}
