//! One thread, and no other: the locks of the model of KVM are shuttle's, which wants to schedule somebody.

use std::sync::mpsc;

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// Messages of failures are formatted on this stack.
const STACK_SIZE: usize = 256 << 10;

/// When KVM's work items run, which it is free about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkItems {
    /// As soon as there is something to inject.
    AtOnce,
    /// When KVM must.
    Late,
}

#[derive(Debug)]
struct Alone {
    work_items: WorkItems,
    is_done: bool,
}

impl Scheduler for Alone {
    fn new_execution(&mut self) -> Option<Schedule> {
        (!std::mem::replace(&mut self.is_done, true)).then(|| Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], _: Option<TaskId>, _: bool) -> Option<TaskId> {
        assert_eq!(runnable.len(), 1, "there is one thread");
        Some(runnable[0].id())
    }

    /// The model of KVM asks for nothing else than this.
    fn next_u64(&mut self) -> u64 {
        match self.work_items {
            WorkItems::AtOnce => 0,
            WorkItems::Late => u64::MAX,
        }
    }
}

/// Does this where the model of KVM works.
pub(crate) fn alone<T: Send + 'static>(
    work_items: WorkItems,
    work: impl Fn() -> T + Send + Sync + 'static,
) -> T {
    let mut config = Config::new();
    config.stack_size = STACK_SIZE;
    config.max_steps = MaxSteps::None;
    config.failure_persistence = FailurePersistence::None;
    let (sender, receiver) = mpsc::sync_channel(1);
    let runner = Runner::new(Alone { work_items, is_done: false }, config);
    runner.run(move || sender.send(work()).expect("somebody waits"));
    receiver.recv().expect("it is done")
}
