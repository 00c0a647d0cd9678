//! Vectors that open while the committer commits.

use shuttle::thread;

use crate::alike;
use crate::explore::{explore, explore_function};
use crate::world::{Commits, World, join};

/// A guest that changes its mind while the committer works, and two producers.
///
/// Kills: close-voids-nothing.
#[test]
fn a_guest_rewrites_while_its_vector_opens() {
    explore_function(1, |world, function| {
        let (guard, producer) = function.irqfd(0);
        let producers = [producer.spawn(1), function.device(0).spawn(1)];
        function.unmask(0);
        function.rewrite(0);
        join(producers);
        world.judge(&[function]);
        drop(guard);
    });
}

/// The same in the middle of a life: the route is in the table already when it begins.
///
/// Kills: withdrawn-counter-left.
#[test]
fn a_guest_masks_a_vector_that_was_open() {
    explore_function(1, |world, function| {
        let (guard, producer) = function.irqfd(0);
        function.unmask(0);
        world.rest();
        let producers = [producer.spawn(2), function.device(0).spawn(1)];
        function.mask(0);
        function.unmask(0);
        function.rewrite(0);
        function.mask(0);
        join(producers);
        world.judge(&[function]);
        drop(guard);
    });
}

/// Function Mask opens two vectors, each with a signal in its latch and one in its counter.
///
/// Kills: counters-of-many-taken-for-empty.
#[test]
fn what_waits_in_two_places_of_two_vectors_collapses() {
    explore_function(2, alike::what_waits_in_two_places_collapses);
}

/// A guest goes back to the message that the table had, while another one is on its way there.
///
/// Kills: close-leaves-irqfd, enlisted-for-ever, tickets-are-alike.
#[test]
fn a_guest_returns_to_an_old_message() {
    explore_function(1, |world, function| {
        let (guard, producer) = function.irqfd(0);
        function.unmask(0);
        world.rest();
        function.rewrite(0);
        function.mask(0);
        function.program_as(0, 1);
        function.unmask(0);
        producer.signal();
        world.judge(&[function]);
        drop(guard);
    });
}

/// Two functions share the router and the committer.
///
/// Kills: finish-ignores-ticket.
#[test]
fn two_functions_open_and_close() {
    explore(|| two_functions(Commits::Thread));
}

/// The same where vCPUs commit for themselves.
///
/// Kills: pending-counts-what-kvm-has, success-keeps-latch-closed.
#[test]
fn two_functions_commit_for_themselves() {
    explore(|| two_functions(Commits::Immediate));
}

fn two_functions(commits: Commits) {
    let world = World::with(8, commits);
    let functions = [0, 1].map(|number| world.function(number, 1));
    let (guards, producers): (Vec<_>, Vec<_>) =
        functions.iter().map(|function| function.irqfd(0)).unzip();
    let producers: Vec<_> = producers.into_iter().map(|producer| producer.spawn(1)).collect();
    let vcpus = functions.clone().map(|function| {
        thread::spawn(move || {
            function.unmask(0);
            function.rewrite(0);
        })
    });
    join(vcpus);
    join(producers);
    world.judge(&functions.each_ref());
    drop(guards);
    world.end(functions);
}
