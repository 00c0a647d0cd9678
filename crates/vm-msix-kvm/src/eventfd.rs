//! An eventfd as a latch: its counter keeps a signal until KVM or somebody else takes it.

use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use vmm_sys_util::eventfd::EventFd;

use crate::error::KvmError;

/// A non-blocking eventfd: reading an empty one must not hang a vCPU.
#[derive(Debug)]
pub(crate) struct Notifier(EventFd);

impl Notifier {
    pub(crate) fn new() -> Result<Self, KvmError> {
        EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
            .map(Self)
            .map_err(|source| KvmError::call("eventfd", source))
    }

    /// As kvm-ioctls wants it.
    pub(crate) fn as_eventfd(&self) -> &EventFd {
        &self.0
    }

    /// Takes everything out of the counter; tells whether there was anything.
    pub(crate) fn drain(&self) -> bool {
        self.0.read().is_ok()
    }
}

impl AsRawFd for Notifier {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open for as long as `self`, which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

/// Puts one signal into an eventfd that is known by its number.
///
/// # Safety
///
/// The number must be of an eventfd that stays open during the call.
pub(crate) unsafe fn notify_raw(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, by this function's own condition, and not closed here.
    let eventfd = ManuallyDrop::new(unsafe { EventFd::from_raw_fd(descriptor) });
    match eventfd.write(1) {
        // A full counter has a signal in it already: that is a success.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

/// Which of these have a signal in them: one `poll(2)`, without any effect on the counters.
pub(crate) fn sample(notifiers: &[&Notifier]) -> Vec<bool> {
    if notifiers.is_empty() {
        return Vec::new();
    }
    let mut polled: Vec<_> =
        notifiers.iter().map(|notifier| PollFd::new(*notifier, PollFlags::IN)).collect();
    loop {
        match poll(&mut polled, Some(&Timespec::default())) {
            Err(rustix::io::Errno::INTR) => continue,
            // A failed poll shows nothing pending, and delivers it all the same on unmask.
            _ => return polled.iter().map(|fd| fd.revents().contains(PollFlags::IN)).collect(),
        }
    }
}
