//! Waiting for eventfds, and waking who waits.

use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::{self, Errno};
use rustix::time::Timespec;

use crate::poller::Patience;

/// Takes an eventfd into the set. Who waits is woken if there is something in it.
pub(crate) fn listen(epoll: &OwnedFd, eventfd: impl AsFd, token: u64) -> io::Result<()> {
    epoll::add(epoll, eventfd, EventData::new_u64(token), EventFlags::IN)
}

/// What has come, into the room that `events` has; waits for something to come first if told to.
pub(crate) fn wait(epoll: &OwnedFd, events: &mut Vec<Event>, patience: Patience) {
    let timeout = match patience {
        Patience::Forever => None,
        // A rest too long for the kernel's clock is none that anybody asked for.
        Patience::For(rest) => Some(Timespec::try_from(rest).unwrap_or_default()),
    };
    if let Err(error) = epoll::wait(epoll, spare_capacity(events), timeout.as_ref()) {
        debug_assert_eq!(error, Errno::INTR);
    }
}

/// Wakes whoever waits for this eventfd.
pub(crate) fn kick(eventfd: impl AsFd) {
    // It fails if the counter is full, which wakes as well.
    let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
}
