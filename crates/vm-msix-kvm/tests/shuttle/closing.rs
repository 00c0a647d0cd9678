//! Many vectors that close at once, and closes that must not wait.

use shuttle::thread;

use crate::explore::{explore, explore_function};
use crate::world::{World, join};

/// Function Mask closes three irqfds, with help, against producers and the committer.
///
/// Kills: none.
#[test]
fn many_close_with_help() {
    explore_function(3, |world, function| {
        let (guards, producers): (Vec<_>, Vec<_>) = (0..3).map(|v| function.irqfd(v)).unzip();
        (0..3).for_each(|vector| function.unmask(vector));
        world.rest();
        let producers: Vec<_> = producers.into_iter().map(|producer| producer.spawn(1)).collect();
        function.mask_all();
        function.unmask_all();
        // Who helps later than it should closes what is open.
        (0..3).for_each(|vector| function.device(vector).signal());
        join(producers);
        world.judge(&[function]);
        function.mask_all();
        world.judge(&[function]);
        function.unmask_all();
        drop(guards);
    });
}

/// Who helps with a close is done when it ends: the vectors open at once then, and nobody closes them.
///
/// Kills: help-not-awaited, help-unseen.
#[test]
fn help_does_not_come_late() {
    explore(|| {
        let world = World::new();
        let function = world.function(0, 2);
        let _guards = [0, 1].map(|vector| function.irqfd(vector).0);
        (0..2).for_each(|vector| function.unmask(vector));
        world.rest();
        // Again and again, so that most of a schedule is what this is about.
        for _ in 0..8 {
            function.mask_all();
            assert_eq!(world.vm.irqfds(), 0, "a close has not ended");
            function.unmask_all();
            world.rest();
            assert_eq!(world.vm.irqfds(), 2, "somebody closed what is open");
        }
    });
}

/// A guest masks a vector, a device triggers it and its holder goes, while the commit that opens it does not end.
///
/// Kills: close-leaves-latch, commit-under-vector-locks.
#[test]
fn nobody_waits_for_a_commit() {
    explore_function(2, |world, function| {
        let (guard, producer) = function.irqfd(0);
        let (other, _) = function.irqfd(1);
        world.vm.hold_commits();
        function.unmask(0);
        let holder = thread::spawn(move || {
            producer.signal();
            drop(guard);
        });
        let device = function.device(0).spawn(1);
        function.unmask(1);
        function.mask(1);
        function.mask(0);
        function.is_pending(0);
        join([holder, device]);
        world.vm.release_commits();
        world.judge(&[function]);
        function.unmask(1);
        drop(other);
        function.unmask(0);
    });
}
