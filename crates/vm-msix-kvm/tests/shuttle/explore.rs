//! One scenario under many schedules.

use std::env;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};

use crate::world::{Function, World};

/// How many by each scheduler, unless told otherwise.
const SCHEDULES: usize = 3000;
/// The same each time: what fails, fails again.
const SEED: u64 = 0x0030_c13d;
/// How many preemptions the second scheduler has where they matter.
const PREEMPTIONS: usize = 3;
/// Far more than a scenario takes, unless it spins.
const MAX_STEPS: usize = 50_000;
/// Messages of failures are formatted on a thread's stack.
const STACK_SIZE: usize = 256 << 10;

/// Runs a scenario under many schedules, or under the one that is to be replayed.
pub(crate) fn explore(scenario: impl Fn() + Copy + Send + Sync + 'static) {
    if let Ok(schedule) = env::var("SHUTTLE_REPLAY") {
        return shuttle::replay(scenario, &schedule);
    }
    let schedules = env::var("SHUTTLE_SCHEDULES")
        .map_or(SCHEDULES, |number| number.parse().expect("a number of schedules"));
    let random = RandomScheduler::new_from_seed(SEED, schedules);
    let mut ran = Runner::new(random, config()).run(scenario);
    let few_preemptions = PctScheduler::new_from_seed(SEED, PREEMPTIONS, schedules);
    ran += Runner::new(few_preemptions, config()).run(scenario);
    // Seen with --show-output.
    println!("{ran} schedules");
}

/// The same with a scenario of one function, with so many vectors, which goes at its end.
pub(crate) fn explore_function(vectors: u8, scenario: fn(&World, &Function)) {
    explore(move || {
        let world = World::new();
        let function = world.function(0, vectors);
        scenario(&world, &function);
        world.end([function]);
    });
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_SIZE;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config
}
