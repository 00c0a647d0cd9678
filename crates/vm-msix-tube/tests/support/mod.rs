//! What the tests without a hypervisor share: a VMM that is made up, a device process that keeps to no rule, and counts of
//! descriptors.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod fds;
pub(crate) mod fuzz;
pub(crate) mod raw;
pub(crate) mod threads;
pub(crate) mod vmm;
pub(crate) mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use vm_msix::MsiMessage;
use vm_msix_tube::SessionEnd;

/// Long enough for any machine.
pub(crate) const FOREVER: Duration = Duration::from_secs(120);

/// One test at a time, because descriptors are counted, which are the process's.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Not before: the test that is alone now may have set its own.
    fds::set_limit(fds::MANY);
    alone
}

/// Waits until it is so, and fails if it never is.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < FOREVER, "waited in vain: {what}");
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// How a session ended.
pub(crate) type Ended = mpsc::Receiver<SessionEnd>;

/// The end of a session, which comes.
#[track_caller]
pub(crate) fn end_of(ended: &Ended) -> SessionEnd {
    ended.recv_timeout(FOREVER).expect("the session goes on for ever")
}

/// A message that says which vector it is of, and how often that was programmed.
pub(crate) fn message(vector: u16, round: u16) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, u32::from(vector) << 16 | u32::from(round))
}
