//! A function that is saved and restored while descriptors come and go, the committer commits and producers signal (C14).

use shuttle::thread;
use vm_msix::MsixStateV1;

use crate::explore::{explore, explore_function};
use crate::world::{Commits, Function, World, join};

/// It is paused while one vector opens and another is put on a descriptor; then it goes on where it is.
///
/// Kills: close-leaves-irqfd, close-leaves-latch, close-voids-nothing.
#[test]
fn a_function_is_saved_beside_its_producers() {
    explore_function(2, |world, function| {
        let (guard, producer) = function.irqfd(0);
        let threads = [
            producer.spawn(2),
            function.device(1).spawn(1),
            function.spawn_holder(1),
            function.looker().spawn(1),
        ];
        (0..2).for_each(|vector| function.unmask(vector));
        pause(function);
        assert_eq!(world.vm.irqfds(), 0, "a paused function is open");
        save(function);
        join(threads);
        save(function);
        resume(function);
        world.judge(&[function]);
        drop(guard);
    });
}

/// Its producers stop, it is saved while its last holder goes, and goes on as another one: of what was signalled, everything
/// comes, and nothing twice.
///
/// Kills: close-voids-nothing, withdrawn-counter-left.
#[test]
fn a_function_moves() {
    explore(|| move_one(World::new()));
}

/// The same where the committer's thread polls its descriptor.
///
/// Kills: polled-closed-not-drained, withdrawn-counter-left.
#[test]
fn a_polled_function_moves() {
    explore(|| move_one(World::with(0, Commits::Thread)));
}

fn move_one(world: World) {
    let copy = world.function(0, 2);
    let function = world.function(0, 2);
    let (guard, producer) = function.irqfd(0);
    (0..2).for_each(|vector| function.unmask(vector));
    let producers = [producer.spawn(2), function.device(1).spawn(1)];
    function.mask(0);
    function.unmask(0);
    join(producers);
    let holder = thread::spawn(move || drop(guard));
    pause(&function);
    let state = save(&function);
    pause(&copy);
    copy.lock().restore(&state).unwrap();
    let (guard, _) = copy.irqfd(0);
    resume(&copy);
    join([holder]);
    drop(function);
    world.judge(&[&copy]);
    drop(guard);
    world.end([copy]);
}

/// A state with one vector masked and pending, and one open, is put where both are open to producers.
///
/// Kills: close-leaves-irqfd, close-leaves-latch, close-voids-nothing.
#[test]
fn a_state_is_restored_into_a_function_in_use() {
    explore_function(2, |world, function| {
        function.unmask(1);
        function.device(0).signal();
        let state = save(function);
        let (guards, producers): (Vec<_>, Vec<_>) = (0..2).map(|v| function.irqfd(v)).unzip();
        function.unmask(0);
        let producers: Vec<_> = producers.into_iter().map(|producer| producer.spawn(1)).collect();
        let holder = function.spawn_holder(0);
        restore(function, &state);
        assert!(function.is_pending(0));
        join(producers);
        join([holder]);
        world.judge(&[function]);
        function.unmask(0);
        drop(guards);
    });
}

/// When it returns, nothing comes.
fn pause(function: &Function) {
    function.lock().pause();
    function.is_over();
}

/// Every vector is unmasked.
fn resume(function: &Function) {
    function.may_send();
    function.lock().resume();
}

/// What it says of Pending Bits is true.
fn save(function: &Function) -> MsixStateV1 {
    let before = function.before();
    let state = function.lock().snapshot();
    function.sees(before, |vector| state.vectors[usize::from(vector)].pending);
    state
}

/// The registers become a state's, whose messages are those that the function has; what it kept is the state's too.
fn restore(function: &Function, state: &MsixStateV1) {
    let before = function.before();
    let vectors = || (0..).zip(&state.vectors);
    for (vector, _) in vectors().filter(|(_, state)| !state.masked) {
        function.oracle().unmasks(function.place(vector));
    }
    function.lock().restore(state).unwrap();
    for (vector, _) in vectors().filter(|(_, state)| state.masked) {
        function.oracle().has_masked(function.place(vector));
    }
    function.takes_back(before);
    for (vector, state) in vectors().filter(|(_, state)| state.pending) {
        // So that it cannot have come yet.
        assert!(state.masked);
        function.oracle().signals(function.place(vector), || {});
    }
}
