//! Waiting for what comes from another thread or from a work item of the kernel.

use std::time::{Duration, Instant};

/// Long enough for any machine: on two busy CPUs KVM's work items and grace periods take seconds.
const FOREVER: Duration = Duration::from_secs(120);

/// Waits until it is so, and fails if it never is.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < FOREVER, "waited in vain: {what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}
