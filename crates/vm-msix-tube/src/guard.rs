//! A vector's descriptor, as somebody outside of the function holds it.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use crate::eventfds::Eventfd;
use crate::function::Function;

/// The eventfd of a vector of a device process: every write to it is a signal.
///
/// Hand it to whoever produces interrupts, and keep this for as long as they live.
pub struct TubeIrqfd {
    function: Arc<Function>,
    eventfd: Arc<Eventfd>,
}

impl TubeIrqfd {
    pub(crate) fn new(function: Arc<Function>, eventfd: Arc<Eventfd>) -> Self {
        Self { function, eventfd }
    }
}

impl AsFd for TubeIrqfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl AsRawFd for TubeIrqfd {
    fn as_raw_fd(&self) -> RawFd {
        self.eventfd.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for TubeIrqfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TubeIrqfd").field(&self.eventfd).finish()
    }
}

impl Drop for TubeIrqfd {
    /// What nobody writes any more keeps nothing: it moves to the latch.
    fn drop(&mut self) {
        let _control = self.function.control();
        let vector = self.function.eventfds().vector_of(&self.eventfd);
        if let Some(vector) = vector.filter(|vector| !self.function.is_open(*vector)) {
            self.function.move_to_latches([vector].into_iter());
        }
        self.eventfd.let_go();
    }
}
