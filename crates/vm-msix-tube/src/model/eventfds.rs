//! Eventfds: the kernel's, and whoever listens to them.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, Timespec};
use rustix::io::{ReadWriteFlags, Result};

use super::scheduling_point;

type Write = Arc<dyn Fn(BorrowedFd<'_>) + Send + Sync>;

shuttle::lazy_static! {
    /// Its lock is no scheduling point, and is held over none.
    static ref WRITE: Mutex<Option<Write>> = Mutex::default();
}

/// How one is added to an eventfd's counter in this schedule: by a hypervisor that listens to it.
pub fn on_write(write: impl Fn(BorrowedFd<'_>) + Send + Sync + 'static) {
    *WRITE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(write));
}

pub(crate) fn write(eventfd: impl AsFd, count: &[u8]) -> Result<usize> {
    scheduling_point();
    let write = WRITE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let written = match write {
        Some(write) => {
            write(eventfd.as_fd());
            count.len()
        }
        None => rustix::io::write(eventfd, count)?,
    };
    scheduling_point();
    Ok(written)
}

pub(crate) fn preadv2(
    eventfd: impl AsFd,
    count: &mut [IoSliceMut<'_>],
    offset: u64,
    flags: ReadWriteFlags,
) -> Result<usize> {
    scheduling_point();
    rustix::io::preadv2(eventfd, count, offset, flags)
}

pub(crate) fn poll(eventfds: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> Result<usize> {
    scheduling_point();
    rustix::event::poll(eventfds, timeout)
}
