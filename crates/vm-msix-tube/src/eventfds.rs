//! The eventfds of a device process: what a trigger writes, and what the VMM listens to.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwapOption;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::time::Timespec;
use vm_msix::{MessageSender, MsiMessage, VectorCount, VectorIndex};

use crate::error::TubeError;
use crate::sys::{AtomicUsize, poll, preadv2, write};

/// An eventfd, and how many outside of the function write it.
#[derive(Debug)]
pub(crate) struct Eventfd {
    fd: OwnedFd,
    holders: AtomicUsize,
}

impl Eventfd {
    pub(crate) fn new() -> Result<Self, TubeError> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map(Self::from)
            .map_err(TubeError::call("eventfd"))
    }

    pub(crate) fn hold(&self) {
        self.holders.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells whether it was the last.
    pub(crate) fn let_go(&self) -> bool {
        self.holders.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Whether somebody writes it without the vector's latch. Relaxed, here and above: it is changed and looked at with the
    /// control path's lock.
    pub(crate) fn is_held(&self) -> bool {
        self.holders.load(Ordering::Relaxed) != 0
    }

    /// Signals. A counter that is full says the same as one that is not.
    fn signal(&self) -> Result<(), TubeError> {
        loop {
            match write(&self.fd, &1_u64.to_ne_bytes()) {
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(TubeError::call("write to an eventfd")(errno)),
            }
        }
    }

    /// Takes what is in the counter; tells whether there was anything. Waits for nothing, whoever made it blocking.
    pub(crate) fn drain(&self) -> bool {
        const NO_OFFSET: u64 = u64::MAX;
        let mut count = [0; 8];
        let mut buffer = [IoSliceMut::new(&mut count)];
        preadv2(&self.fd, &mut buffer, NO_OFFSET, ReadWriteFlags::NOWAIT) == Ok(8)
    }
}

impl From<OwnedFd> for Eventfd {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, holders: AtomicUsize::new(0) }
    }
}

impl AsFd for Eventfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Which of these have something in them, without an effect on them.
fn is_readable(eventfds: &[&Eventfd]) -> Vec<bool> {
    let mut polled: Vec<_> =
        eventfds.iter().map(|eventfd| PollFd::new(*eventfd, PollFlags::IN)).collect();
    // A poll that fails shows nothing; opening delivers it all the same.
    while poll(&mut polled, Some(&Timespec::default())) == Err(Errno::INTR) {}
    polled.iter().map(|polled| polled.revents().contains(PollFlags::IN)).collect()
}

/// Which eventfd each vector has. Looked at without a lock by whoever triggers; changed while the vector's latch is closed.
#[derive(Clone, Debug)]
pub(crate) struct Eventfds(Arc<[ArcSwapOption<Eventfd>]>);

impl Eventfds {
    pub(crate) fn new(vectors: VectorCount) -> Self {
        Self(vectors.indices().map(|_| ArcSwapOption::empty()).collect())
    }

    pub(crate) fn get(&self, vector: VectorIndex) -> Option<Arc<Eventfd>> {
        self.0.get(vector.as_usize())?.load_full()
    }

    pub(crate) fn set(&self, vector: VectorIndex, eventfd: Option<Arc<Eventfd>>) {
        if let Some(slot) = self.0.get(vector.as_usize()) {
            slot.store(eventfd);
        }
    }

    /// Gives back those that nobody outside writes.
    pub(crate) fn drop_unheld(&self) {
        let is_unheld = |slot: &&ArcSwapOption<Eventfd>| {
            slot.load().as_ref().is_some_and(|eventfd| !eventfd.is_held())
        };
        self.0.iter().filter(is_unheld).for_each(|slot| slot.store(None));
    }

    /// The vector that has this one.
    pub(crate) fn vector_of(&self, eventfd: &Arc<Eventfd>) -> Option<VectorIndex> {
        let is_it = |slot: &ArcSwapOption<Eventfd>| {
            slot.load().as_ref().is_some_and(|there| Arc::ptr_eq(there, eventfd))
        };
        VectorIndex::new(self.0.iter().position(is_it)?.try_into().ok()?)
    }

    /// Of these vectors, those whose counters keep something that is theirs: somebody outside writes them.
    pub(crate) fn counted(
        &self,
        vectors: impl Iterator<Item = VectorIndex>,
    ) -> impl Iterator<Item = VectorIndex> {
        let held: Vec<_> = vectors
            .filter_map(|vector| Some((vector, self.get(vector)?)))
            .filter(|(_, eventfd)| eventfd.is_held())
            .collect();
        let readable = match held.is_empty() {
            true => Vec::new(),
            false => is_readable(&held.iter().map(|(_, eventfd)| &**eventfd).collect::<Vec<_>>()),
        };
        let counted = held.into_iter().zip(readable).filter(|(_, is_readable)| *is_readable);
        counted.map(|((vector, _), _)| vector)
    }
}

impl MessageSender for Eventfds {
    type Error = TubeError;

    /// The VMM looks at it.
    fn check(&self, _message: MsiMessage) -> Result<(), TubeError> {
        Ok(())
    }

    #[inline]
    fn send(&self, vector: VectorIndex, _message: MsiMessage) -> Result<(), TubeError> {
        match self.0.get(vector.as_usize()).map(ArcSwapOption::load).as_deref() {
            Some(Some(eventfd)) => eventfd.signal(),
            // A vector that is open has one.
            _ => Ok(()),
        }
    }
}
