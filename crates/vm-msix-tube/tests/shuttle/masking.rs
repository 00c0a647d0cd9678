//! Triggers against what a guest does to its vectors.

use shuttle::thread;
use vm_msix_tube::model::wake;

use crate::explore::{explore, explore_function};
use crate::world::{Commits, World, join, unmask_bits};

/// A guest that changes its mind, and two threads of a device.
///
/// Kills: ask-does-not-wait.
#[test]
fn a_guest_rewrites_while_a_device_triggers() {
    explore_function(1, |_, function| {
        let devices = [1, 2].map(|times| function.device(0).spawn(times));
        function.unmask(0);
        function.rewrite(0);
        function.mask(0);
        function.unmask(0);
        join(devices);
    });
}

/// What was handed over to the VMM has come when a mask ends, or is pending.
///
/// Kills: asked-before-closed, closed-latch-kept, kept-forgotten.
#[test]
fn what_is_on_its_way_when_a_vector_is_masked_is_pending() {
    explore_function(1, |_, function| {
        for _ in 0..3 {
            function.unmask(0);
            let device = function.device(0).spawn(1);
            function.mask(0);
            join([device]);
            function.judge();
        }
    });
}

/// When a flush ends, the VMM has done what was posted, though nobody there commits by himself.
///
/// Kills: flush-waits-for-nothing.
#[test]
fn a_flush_waits_for_what_is_deferred() {
    explore(|| {
        let world = World::with(4, Commits::Polled);
        let function = world.function(0, 1);
        function.unmask(0);
        function.lock().flush().unwrap();
        assert_eq!(world.kvm().irqfds(), 1, "the vector is not open yet");
        world.end([function]);
    });
}

/// Function Mask opens and closes vectors whose eventfds come in parts.
///
/// Kills: parts-forgotten.
#[test]
fn function_mask_is_for_all_vectors() {
    explore_function(3, |_, function| {
        function.mask_all();
        (0..3).for_each(|vector| function.device(vector).signal());
        unmask_bits(function, 3);
        let devices: Vec<_> = (0..3).map(|vector| function.device(vector).spawn(1)).collect();
        function.unmask_all();
        function.mask_all();
        join(devices);
        function.judge();
        function.unmask_all();
    });
}

/// A guest looks at Pending Bits while a signal moves from a counter to a latch, and between the VMM and here.
///
/// Kills: none.
#[test]
fn a_pending_bit_stands_while_its_signal_moves() {
    explore_function(2, |_, function| {
        function.unmask(0);
        let (guard, producer) = function.irqfd(0);
        function.mask(0);
        producer.signal();
        let holder = thread::spawn(move || drop(guard));
        let device = function.device(1).spawn(1);
        function.unmask(1);
        for _ in 0..3 {
            assert!(function.is_pending(0), "the bit went with nobody to take it");
        }
        function.mask(1);
        join([holder, device]);
        function.judge();
    });
}

/// A function is reset under triggers, gives everything back, and comes up again.
///
/// Kills: release-drops-held, release-keeps-brought.
#[test]
fn a_function_is_reset_while_it_opens() {
    explore_function(2, |world, function| {
        let (guard, producer) = function.irqfd(1);
        let devices = [0, 1].map(|vector| function.device(vector).spawn(1));
        (0..2).for_each(|vector| function.unmask(vector));
        function.reset();
        world.vm.rest();
        world.vm.expect_empty();
        join(devices);
        function.enable();
        (0..2).for_each(|vector| function.program(vector));
        (0..2).for_each(|vector| function.unmask(vector));
        producer.signal();
        world.judge(&[function]);
        drop(guard);
    });
}

/// A function is saved under triggers, and goes on in another device process.
///
/// Kills: none.
#[test]
fn a_function_moves_to_another_process() {
    explore_function(2, |world, function| {
        (0..2).for_each(|vector| function.unmask(vector));
        let devices = [0, 1].map(|vector| function.device(vector).spawn(1));
        function.mask(1);
        function.lock().pause();
        function.is_over();
        join(devices);
        let state = function.lock().snapshot();
        drop(std::mem::replace(&mut *function.lock(), world.serve(2)));
        wake();
        world.until_left(1);
        world.vm.oracle.unmasks(function.place(0));
        function.lock().restore(&state).unwrap();
    });
}
