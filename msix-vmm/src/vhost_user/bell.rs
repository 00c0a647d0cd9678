//! Eventfds that the backend has too: it can fill them and change their flags.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{ReadWriteFlags, preadv2};
use vmm_sys_util::eventfd::EventFd;

/// An eventfd of ours.
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// Rings, unless it is full, so that it rings already.
    ///
    /// Whoever else has it can make it blocking and fill it, and this wait until somebody [silences](Self::silence) it.
    pub(super) fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes what has come, and tells whether there was anything. Never waits.
    pub(super) fn silence(&self) -> bool {
        const NO_OFFSET: u64 = u64::MAX;
        let mut count = [0; 8];
        preadv2(&self.0, &mut [IoSliceMut::new(&mut count)], NO_OFFSET, ReadWriteFlags::NOWAIT)
            .is_ok()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Another descriptor of an eventfd, for those who take an `EventFd`.
pub(super) fn eventfd_of(eventfd: impl AsFd) -> io::Result<EventFd> {
    let owned = eventfd.as_fd().try_clone_to_owned()?;
    // SAFETY: the number is that of a descriptor that nobody else owns.
    Ok(unsafe { EventFd::from_raw_fd(owned.into_raw_fd()) })
}

/// Those of one queue.
pub(super) struct Bells {
    /// The driver has something.
    pub(super) kick: Bell,
    /// The backend has used something, and no vector is there to carry it.
    pub(super) call: Bell,
}

impl Bells {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { kick: Bell::new()?, call: Bell::new()? })
    }
}
