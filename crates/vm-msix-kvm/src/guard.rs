//! A vector's descriptor, as somebody outside holds it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use vm_msix::VectorIndex;
use vmm_sys_util::eventfd::EventFd;

use crate::eventfd::Notifier;
use crate::function::Function;
use crate::irqfd::IrqfdVector;
use crate::modes::Joined;

/// The eventfd of a vector: every write to it is a signal.
///
/// If somebody else [brings](vm_msix::MsixConfig::adopt_irqfd) another eventfd for the vector, this one is done with, and
/// holds the vector in irqfd mode all the same.
///
/// Hand the descriptor to vhost, VFIO or another process, and keep this for as long as they live:
/// when the last one of a vector is dropped, the vector goes back to signal mode and KVM does
/// not listen to the eventfd any more.
pub struct Irqfd {
    function: Arc<Function>,
    irqfd: Arc<IrqfdVector>,
    /// The vector's when it was asked for.
    notifier: Arc<Notifier>,
}

impl Irqfd {
    pub(crate) fn new(function: Arc<Function>, (irqfd, notifier): Joined) -> Self {
        Self { function, irqfd, notifier }
    }

    /// Another descriptor of the same eventfd, for those who take an `EventFd`.
    ///
    /// # Errors
    ///
    /// The kernel's, if the process has too many descriptors.
    pub fn try_clone_eventfd(&self) -> io::Result<EventFd> {
        self.notifier.try_clone()
    }

    /// The vector it signals now.
    pub fn vector(&self) -> VectorIndex {
        self.irqfd.lock().vector
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
        self.function.leave(&self.irqfd);
    }
}

impl fmt::Debug for Irqfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Irqfd")
            .field("vector", &self.vector())
            .field("notifier", &self.notifier)
            .finish_non_exhaustive()
    }
}
