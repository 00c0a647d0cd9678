//! Reset, destroy and drop, while openings are queued and a commit is under way.

use shuttle::thread;

use crate::explore::{explore, explore_function};
use crate::world::{Commits, Function, World, join};

/// A function is reset and comes up again.
///
/// Kills: claimed-twice, release-forgets-commit.
#[test]
fn a_function_is_reset_while_it_opens() {
    explore_function(2, |world, function| {
        let guards = [0, 1].map(|vector| function.irqfd(vector).0);
        function.unmask(0);
        world.rest();
        function.unmask(1);
        function.reset();
        function.enable();
        // The table has these messages still, but each GSI goes to the other vector.
        (0..2).for_each(|vector| function.program_as(vector, 1));
        function.unmask(1);
        function.unmask(0);
        world.judge(&[function]);
        drop(guards);
    });
}

/// The same beside its producers, where the committer's thread polls its descriptors.
///
/// Kills: poll-set-kept, polled-closed-not-drained, reset-takes-all-for-empty.
#[test]
fn a_polled_function_is_reset() {
    explore(|| {
        let world = World::with(0, Commits::Thread);
        let function = world.function(0, 2);
        let (guards, producers): (Vec<_>, Vec<_>) = (0..2).map(|v| function.irqfd(v)).unzip();
        (0..2).for_each(|vector| function.unmask(vector));
        let producers: Vec<_> = producers.into_iter().map(|producer| producer.spawn(1)).collect();
        function.reset();
        function.enable();
        (0..2).for_each(|vector| function.program(vector));
        function.unmask(0);
        join(producers);
        world.judge(&[&function]);
        drop(guards);
        world.end([function]);
    });
}

/// One function is reset while another opens: its GSIs pass from one to the other while their routes are committed.
///
/// Kills: given-back-at-once, given-back-late, release-keeps-gsis.
#[test]
fn gsis_pass_to_another_function() {
    explore(|| {
        let world = World::with(2, Commits::Thread);
        let functions = [0, 1].map(|number| world.function(number, 1));
        let (guard, producer) = functions[1].irqfd(0);
        let producer = producer.spawn(1);
        let life = functions[0].clone();
        let life = thread::spawn(move || {
            let (guard, _) = life.irqfd(0);
            life.unmask(0);
            life.reset();
            drop(guard);
        });
        functions[1].unmask(0);
        functions[1].rewrite(0);
        join([producer, life]);
        let [first, second] = functions;
        first.judge();
        world.judge(&[&second]);
        drop((guard, first));
        world.end([second]);
    });
}

/// A function is destroyed while it opens, beside one that stays.
///
/// Kills: openings-not-queued, withdrawn-counter-taken-early.
#[test]
fn a_function_is_destroyed_while_it_opens() {
    explore(|| {
        let world = World::new();
        let functions = [0, 1].map(|number| world.function(number, 2));
        let (guards, producers): (Vec<_>, Vec<_>) =
            functions.iter().map(|function| function.irqfd(0)).unzip();
        let producers: Vec<_> = producers.into_iter().map(|producer| producer.spawn(1)).collect();
        functions.iter().for_each(|function| function.unmask(0));
        functions[0].lock().destroy();
        functions[0].is_over();
        join(producers);
        world.rest();
        functions[1].judge();
        drop(guards);
        let [gone, stays] = functions;
        drop(gone);
        world.end([stays]);
    });
}

/// Everybody lets go of everything at once; the committer's thread may be the last to have the function.
///
/// Kills: end-unsaid, thread-joins-itself.
#[test]
fn the_last_one_ends_the_thread() {
    explore(|| {
        let world = World::new();
        let (vm, router) = (world.vm.clone(), world.router.clone());
        let function = world.function(0, 1);
        let (guard, producer) = function.irqfd(0);
        function.unmask(0);
        drop(world);
        let holder = thread::spawn(move || drop(guard));
        let producer = producer.spawn(1);
        drop::<Function>(function);
        join([holder, producer]);
        assert_eq!(vm.irqfds(), 0);
        // One that a commit may name comes back with its end, and nobody is left to wait for that but us.
        while router.gsis_in_use() > 0 {
            thread::yield_now();
        }
    });
}

/// The last thing that a function does is to close many vectors, and the committer's thread helps.
///
/// Kills: help-keeps-function.
#[test]
fn help_with_the_last_close_keeps_nothing() {
    explore(|| {
        let world = World::new();
        let (vm, router) = (world.vm.clone(), world.router.clone());
        let function = world.function(0, 2);
        let irqfds = [0, 1].map(|vector| function.irqfd(vector));
        (0..2).for_each(|vector| function.unmask(vector));
        world.rest();
        irqfds.iter().for_each(|(_, producer)| producer.signal());
        drop((world, function));
        drop(irqfds);
        assert_eq!(vm.irqfds(), 0);
        assert_eq!(router.gsis_in_use(), 0);
    });
}
