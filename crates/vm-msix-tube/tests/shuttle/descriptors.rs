//! Vectors whose descriptors others have, and eventfds that change.

use shuttle::thread;

use crate::actors::brought;
use crate::alike;
use crate::explore::explore_function;
use crate::world::join;

/// An open vector gets a producer outside, who obeys the masks.
///
/// Kills: none.
#[test]
fn a_producer_comes_to_an_open_vector() {
    explore_function(1, |world, function| {
        function.unmask(0);
        let device = function.device(0).spawn(1);
        let (guard, producer) = function.irqfd(0);
        let producer = producer.spawn(2);
        function.mask(0);
        function.rewrite(0);
        join([device, producer]);
        world.judge(&[function]);
        drop(guard);
    });
}

/// What waits in a counter and in a latch is one signal.
///
/// Kills: counter-not-moved.
#[test]
fn what_waits_in_two_places_collapses() {
    explore_function(2, alike::what_waits_in_two_places_collapses);
}

/// The last holder of a descriptor goes while the guest masks and unmasks.
///
/// Kills: drains-nothing, guard-leaves-counter.
#[test]
fn a_holder_goes_while_a_guest_masks() {
    explore_function(1, |_, function| {
        let (guard, producer) = function.irqfd(0);
        function.unmask(0);
        let holder = thread::spawn(move || {
            producer.signal();
            drop(guard);
        });
        function.mask(0);
        join([holder]);
        function.judge();
        function.unmask(0);
    });
}

/// An open vector gets another eventfd while it is triggered.
///
/// Kills: none.
#[test]
fn an_open_vector_changes_its_eventfd() {
    explore_function(1, |world, function| {
        function.unmask(0);
        let device = function.device(0).spawn(3);
        let guard = function.lock().adopt_irqfd(0, brought()).unwrap();
        let producer = function.producer(0, &guard).spawn(1);
        function.rewrite(0);
        join([device, producer]);
        world.judge(&[function]);
        drop(guard);
    });
}

/// The eventfd before has nothing that comes after it.
///
/// Kills: adopted-without-close.
#[test]
fn nobody_writes_an_eventfd_that_was_replaced() {
    explore_function(1, |world, function| {
        function.unmask(0);
        for _ in 0..4 {
            let device = function.device(0).spawn(1);
            drop(function.lock().adopt_irqfd(0, brought()).unwrap());
            join([device]);
            world.judge(&[function]);
        }
    });
}

/// Masked vectors get other eventfds, and keep what their counters kept: one that was open, and one that the VMM never had.
///
/// Kills: adopted-without-counter.
#[test]
fn masked_vectors_change_their_eventfds() {
    explore_function(2, |world, function| {
        let (before, producers): (Vec<_>, Vec<_>) = (0..2).map(|v| function.irqfd(v)).unzip();
        function.unmask(0);
        let producers: Vec<_> = producers.into_iter().map(|producer| producer.spawn(1)).collect();
        function.mask(0);
        join(producers);
        let after = [0, 1].map(|vector| function.lock().adopt_irqfd(vector, brought()).unwrap());
        function.judge();
        let producer = function.producer(0, &after[0]).spawn(1);
        (0..2).for_each(|vector| function.unmask(vector));
        join([producer]);
        world.judge(&[function]);
        drop((before, after));
    });
}

/// Two vectors exchange their eventfds while both are triggered, one of them masked.
///
/// Kills: swapped-at-the-vmm-only, swapped-without-close.
#[test]
fn two_vectors_exchange_their_eventfds() {
    explore_function(2, |world, function| {
        let guards = [0, 1].map(|vector| function.irqfd(vector).0);
        (0..2).for_each(|vector| function.unmask(vector));
        function.mask(1);
        let device = function.device(0).spawn(3);
        function.lock().swap_irqfds(0, 1).unwrap();
        function.lock().swap_irqfds(0, 1).unwrap();
        join([device]);
        world.judge(&[function]);
        function.lock().swap_irqfds(0, 1).unwrap();
        function.unmask(1);
        // Each is with its new vector, and obeys its masks.
        for (vector, guard) in [(1, &guards[0]), (0, &guards[1])] {
            let producer = function.producer(vector, guard).spawn(1);
            function.mask(vector);
            join([producer]);
            function.judge();
            function.unmask(vector);
            world.judge(&[function]);
        }
        drop(guards);
    });
}
