//! More than a socket has room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shuttle::thread;

use crate::explore::explore;
use crate::world::{Commits, Function, World, join, unmask_bits};

/// The guest waits for answers that nobody gives, until they are given.
fn expect_waiting(world: &World, function: &Function, act: fn(&Function)) {
    let is_done = Arc::new(AtomicBool::new(false));
    let guest = thread::spawn({
        let (function, is_done) = (function.clone(), is_done.clone());
        move || {
            act(&function);
            is_done.store(true, Ordering::Relaxed);
        }
    });
    for _ in 0..300 {
        assert!(!is_done.load(Ordering::Relaxed), "more is owed than there is room for");
        thread::yield_now();
    }
    world.kvm().release_commits();
    join([guest]);
}

/// A driver unmasks vector by vector while the VMM answers nothing: it waits when the window is full, and not before.
///
/// Kills: window-ignored.
#[test]
fn requests_are_posted_by_the_window() {
    explore(|| {
        let world = World::with(16, Commits::Immediate);
        let function = world.function(0, 14);
        world.kvm().hold_commits();
        (0..2).for_each(|vector| function.unmask(vector));
        let device = function.device(13).spawn(1);
        expect_waiting(&world, &function, |function| function.unmask(2));
        join([device]);
        (3..14).for_each(|vector| function.unmask(vector));
        world.judge(&[&function]);
        world.finish(vec![function]);
    });
}

/// Eventfds of one message come in more packets than there is room for.
///
/// Kills: rest-miscounted.
#[test]
fn eventfds_come_in_parts() {
    explore(|| {
        let world = World::with(16, Commits::Immediate);
        let function = world.function(0, 13);
        function.mask_all();
        unmask_bits(&function, 13);
        let device = function.device(12).spawn(1);
        function.unmask_all();
        join([device]);
        world.judge(&[&function]);
        world.finish(vec![function]);
    });
}

/// Of many vectors that open at once the results are waited for.
///
/// Kills: results-ignored.
#[test]
fn results_are_waited_for_by_the_window() {
    explore(|| {
        let world = World::with(8, Commits::Immediate);
        let function = world.function(0, 5);
        function.mask_all();
        unmask_bits(&function, 5);
        world.kvm().hold_commits();
        expect_waiting(&world, &function, Function::unmask_all);
        world.judge(&[&function]);
        world.finish(vec![function]);
    });
}
