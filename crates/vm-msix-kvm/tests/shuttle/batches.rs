//! Batches, flushes, and commits that the VMM's loop makes.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use crate::explore::{explore, explore_function};
use crate::world::{Commits, World, join};

/// Two batches that overlap gather what is unmasked inside of either, and let it go without a flush.
///
/// Kills: batch-ends-with-the-first, batch-gathers-nothing, queued-keeps-nothing.
#[test]
fn the_last_batch_lets_the_openings_go() {
    explore(|| {
        let world = World::new();
        let functions = [0, 1].map(|number| world.function(number, 1));
        let vcpus = functions.clone().map(|function| {
            let committer = world.committer.clone();
            thread::spawn(move || {
                let (_guard, producer) = function.irqfd(0);
                let batch = committer.batch();
                function.unmask(0);
                producer.signal();
                assert!(function.is_pending(0), "committed although it is being gathered");
                drop(batch);
                function.rewrite(0);
            })
        });
        join(vcpus);
        world.judge(&functions.each_ref());
        world.end(functions);
    });
}

/// A batch begins after the kick, and before the committer takes what is queued.
///
/// Kills: ended-batch-does-not-kick, sleeps-kicked.
#[test]
fn a_batch_begins_behind_a_kick() {
    explore_function(2, |world, function| {
        let irqfds = [0, 1].map(|vector| function.irqfd(vector));
        let committer = world.committer.clone();
        let other = thread::spawn(move || drop(committer.batch()));
        function.unmask(0);
        let batch = world.committer.batch();
        function.unmask(1);
        irqfds.iter().for_each(|(_, producer)| producer.signal());
        drop(batch);
        join([other]);
        world.judge(&[function]);
        drop(irqfds);
    });
}

/// When a flush returns, what was unmasked before is with KVM, also inside of a batch.
///
/// Kills: commits-overlap, flush-leaves-batches.
#[test]
fn a_flush_ends_with_everything_open() {
    explore(|| {
        let world = World::new();
        let functions = [0, 1].map(|number| world.function(number, 1));
        let guards = functions.each_ref().map(|function| function.irqfd(0));
        let committer = world.committer.clone();
        let [gathering, other] = functions.clone();
        let vcpu = thread::spawn(move || {
            let batch = committer.batch();
            gathering.unmask(0);
            gathering.lock().flush().unwrap();
            drop(batch);
        });
        other.unmask(0);
        other.lock().flush().unwrap();
        join([vcpu]);
        assert_eq!(world.vm.irqfds(), 2, "a flush did not wait");
        guards.iter().for_each(|(_, producer)| producer.signal());
        world.judge(&functions.each_ref());
        drop(guards);
        world.end(functions);
    });
}

/// The VMM's loop commits, when the descriptor tells it to.
///
/// Kills: assigned-before-route, kick-drained-after-commit, taken-stays-kicked.
#[test]
fn a_loop_commits_what_the_descriptor_tells_of() {
    explore(|| {
        let world = World::with(8, Commits::Polled);
        let function = world.function(0, 1);
        let (guard, producer) = function.irqfd(0);
        let done = Arc::new(AtomicBool::new(false));
        let (committer, told) = (world.committer.clone(), done.clone());
        let event_loop = thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                if is_readable(&committer.descriptor().unwrap()) {
                    committer.run_pending();
                }
                thread::yield_now();
            }
            while is_readable(&committer.descriptor().unwrap()) {
                committer.run_pending();
            }
        });
        let producer = producer.spawn(1);
        function.unmask(0);
        function.rewrite(0);
        function.producer(0, &guard).signal();
        join([producer]);
        done.store(true, Ordering::SeqCst);
        join([event_loop]);
        world.vm.settle();
        function.judge();
        drop(guard);
        world.end([function]);
    });
}

/// The loop comes by while a batch gathers, finds nothing to do, and is told again when it ends.
///
/// Kills: gathering-stays-kicked.
#[test]
fn a_loop_hears_of_the_end_of_a_batch() {
    explore(|| {
        let world = World::with(8, Commits::Polled);
        let function = world.function(0, 1);
        let (guard, producer) = function.irqfd(0);
        let producer = producer.spawn(1);
        function.unmask(0);
        let batch = world.committer.batch();
        world.committer.run_pending();
        drop(batch);
        assert!(is_readable(&world.committer.descriptor().unwrap()), "nobody was told");
        world.committer.run_pending();
        join([producer]);
        world.vm.settle();
        function.judge();
        drop(guard);
        world.end([function]);
    });
}

fn is_readable(descriptor: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(descriptor, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).unwrap() > 0
}
