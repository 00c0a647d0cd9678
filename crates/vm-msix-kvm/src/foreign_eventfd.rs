//! Whether an eventfd that somebody brings can be a vector's latch.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{OFlags, fcntl_getfl};

use crate::error::EventfdFault;

/// Refuses what is no eventfd, and eventfds whose flags do not go with a latch.
///
/// It looks, and does not try: whoever brings the eventfd has it too, and can make a write of ours wait for ever. So where the
/// kernel does not say what it is (Linux before 6.5 does not tell semaphores, a jail without proc(5) tells nothing), it is taken: KVM
/// refuses what is no eventfd, and a semaphore gives its own vector one interrupt for each signal.
pub(crate) fn check_eventfd(eventfd: BorrowedFd<'_>) -> Result<(), EventfdFault> {
    let info = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", eventfd.as_raw_fd())).ok();
    let info = info.as_deref();
    if info.is_some_and(|info| field(info, "eventfd-count:").is_none()) {
        return Err(EventfdFault::NotAnEventfd);
    }
    if !fcntl_getfl(eventfd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK)) {
        return Err(EventfdFault::Blocking);
    }
    match info.and_then(|info| field(info, "eventfd-semaphore:")) {
        None | Some("0") => Ok(()),
        Some(_) => Err(EventfdFault::Semaphore),
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}
