//! An eventfd as a latch: its counter keeps a signal until KVM or somebody else takes it.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, ReadWriteFlags, fcntl_setfd, preadv2};
use rustix::time::Timespec;
use vmm_sys_util::eventfd::EventFd;

use crate::error::KvmError;
use crate::foreign_eventfd::check_eventfd;

/// A vector's eventfd.
///
/// Whoever has the descriptor shares its flags and can make it blocking, so nothing here relies on them:
/// no call waits, and none writes.
#[derive(Debug)]
pub(crate) struct Notifier(EventFd);

impl Notifier {
    pub(crate) fn new() -> Result<Self, KvmError> {
        EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
            .map(Self)
            .map_err(|source| KvmError::call("eventfd", source))
    }

    /// Somebody else's eventfd.
    pub(crate) fn of_a_caller(eventfd: OwnedFd) -> Result<Self, KvmError> {
        check_eventfd(eventfd.as_fd()).map_err(KvmError::Eventfd)?;
        fcntl_setfd(&eventfd, FdFlags::CLOEXEC)
            .map_err(|source| KvmError::call("fcntl", source))?;
        // SAFETY: the number is that of a descriptor that nobody else owns any more.
        Ok(Self(unsafe { EventFd::from_raw_fd(eventfd.into_raw_fd()) }))
    }

    /// As kvm-ioctls wants it.
    pub(crate) fn as_eventfd(&self) -> &EventFd {
        &self.0
    }

    /// Another descriptor of the same eventfd.
    pub(crate) fn try_clone(&self) -> io::Result<EventFd> {
        self.0.try_clone()
    }

    /// Takes everything out of the counter; tells whether there was anything.
    pub(crate) fn drain(&self) -> bool {
        take_count(self.as_fd()).is_some()
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

/// Takes what is in an eventfd's counter, without waiting for there to be something.
pub(crate) fn take_count(eventfd: BorrowedFd<'_>) -> Option<u64> {
    const NO_OFFSET: u64 = u64::MAX;
    let mut count = [0; 8];
    let mut buffer = [IoSliceMut::new(&mut count)];
    let read = preadv2(eventfd, &mut buffer, NO_OFFSET, ReadWriteFlags::NOWAIT).ok()?;
    (read == count.len()).then(|| u64::from_ne_bytes(count))
}

/// Which of these have a signal in them: one `poll(2)`, without any effect on the counters.
pub(crate) fn sample<'a>(notifiers: impl Iterator<Item = &'a Notifier>) -> Vec<bool> {
    let mut polled: Vec<_> =
        notifiers.map(|notifier| PollFd::new(notifier, PollFlags::IN)).collect();
    if polled.is_empty() {
        return Vec::new();
    }
    loop {
        match poll(&mut polled, Some(&Timespec::default())) {
            Err(rustix::io::Errno::INTR) => continue,
            // A failed poll shows nothing pending, and an assign delivers it all the same.
            _ => return polled.iter().map(|fd| fd.revents().contains(PollFlags::IN)).collect(),
        }
    }
}
