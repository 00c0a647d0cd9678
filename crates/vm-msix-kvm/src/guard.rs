//! A vector's descriptor, as somebody outside holds it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use vm_msix::VectorIndex;
use vmm_sys_util::eventfd::EventFd;

use crate::backend::KvmBackend;
use crate::eventfd::Notifier;

/// The eventfd of a vector: every write to it is a signal.
///
/// Hand the descriptor to vhost, VFIO or another process, and keep this for as long as they live:
/// when the last one of a vector is dropped, the vector goes back to signal mode and KVM does
/// not listen to the eventfd any more.
#[derive(Debug)]
pub struct Irqfd {
    backend: KvmBackend,
    vector: VectorIndex,
    notifier: Arc<Notifier>,
}

impl Irqfd {
    pub(crate) fn new(backend: KvmBackend, vector: VectorIndex, notifier: Arc<Notifier>) -> Self {
        Self { backend, vector, notifier }
    }

    /// Another descriptor of the same eventfd, for those who take an `EventFd`.
    ///
    /// # Errors
    ///
    /// The kernel's, if the process has too many descriptors.
    pub fn try_clone_eventfd(&self) -> io::Result<EventFd> {
        self.notifier.try_clone()
    }

    /// The vector it signals.
    pub fn vector(&self) -> VectorIndex {
        self.vector
    }
}

impl AsFd for Irqfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notifier.as_fd()
    }
}

impl AsRawFd for Irqfd {
    fn as_raw_fd(&self) -> RawFd {
        self.notifier.as_raw_fd()
    }
}

impl Drop for Irqfd {
    fn drop(&mut self) {
        self.backend.put_irqfd(self.vector);
    }
}
