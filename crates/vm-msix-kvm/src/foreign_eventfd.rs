//! Whether an eventfd that somebody brings can be a vector's latch.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{Errno, write};

use crate::error::EventfdFault;
use crate::eventfd::take_count;

/// Refuses what is no eventfd, and eventfds whose flags do not go with a latch.
pub(crate) fn check_eventfd(eventfd: BorrowedFd<'_>) -> Result<(), EventfdFault> {
    let info = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", eventfd.as_raw_fd())).ok();
    if info.as_deref().is_some_and(|info| field(info, "eventfd-count:").is_none()) {
        return Err(EventfdFault::NotAnEventfd);
    }
    if !fcntl_getfl(eventfd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK)) {
        return Err(EventfdFault::Blocking);
    }
    // Linux before 6.5 does not say, nor does a jail without proc(5).
    let is_semaphore = match info.as_deref().and_then(|info| field(info, "eventfd-semaphore:")) {
        Some(flag) => flag != "0",
        None => is_semaphore_by_trial(eventfd)?,
    };
    if is_semaphore { Err(EventfdFault::Semaphore) } else { Ok(()) }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// A semaphore gives one at a time, of two or more. What was in it before stays in it.
fn is_semaphore_by_trial(eventfd: BorrowedFd<'_>) -> Result<bool, EventfdFault> {
    const TWO: u64 = 2;
    let full = match write(eventfd, &TWO.to_ne_bytes()) {
        Ok(8) => false,
        Err(Errno::AGAIN) => true,
        _ => return Err(EventfdFault::NotAnEventfd),
    };
    let count = take_count(eventfd).ok_or(EventfdFault::NotAnEventfd)?;
    if count == 1 {
        // The other of the two.
        take_count(eventfd);
        return Ok(true);
    }
    if full || count > TWO {
        // One signal is as good as many. There is room for it, unless its producers fill it, which is as good again.
        let _ = write(eventfd, &1_u64.to_ne_bytes());
    }
    Ok(false)
}
