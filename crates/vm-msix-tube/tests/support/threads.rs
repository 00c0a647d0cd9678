//! The threads of servers: their own, and those that close what sessions leave.

use std::fs;

use super::until;

/// How many there are. A new one has the name of the thread that started it until it takes its own.
fn count() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let is_of_a_server = |name: &String| name.starts_with("msix-tube");
    // One that ends meanwhile has no name any more.
    tasks
        .filter_map(|task| fs::read_to_string(task.join("comm")).ok())
        .filter(is_of_a_server)
        .count()
}

/// Waits until there are no more than so many: the others have done all that they do.
#[track_caller]
pub(crate) fn expect(servers: usize) {
    until(&format!("{servers} threads"), || count() <= servers);
}
