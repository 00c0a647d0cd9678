//! What has a descriptor: vectors given to others, and backends that live behind a socket.

use alloc::boxed::Box;
use core::error::Error;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::backend::{IrqfdBackend, MsiBackend};
use crate::config::MsixConfig;
use crate::error::MsixError;
use crate::observer::MsixObserver;
use crate::vector::VectorIndex;

impl<B: IrqfdBackend, O: MsixObserver> MsixConfig<B, O> {
    /// Puts a vector on an eventfd, for a producer outside of this code (C13): whoever writes it signals, and is
    /// masked like anybody. Keep what is returned for as long as the producer lives.
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorOutOfRange`]; [`MsixError::Irqfd`], and the vector goes on as it was.
    pub fn get_irqfd(&self, vector: usize) -> Result<B::Irqfd, MsixError> {
        let vector = self.check(vector)?;
        self.backend().irqfd(vector).map_err(irqfd_error(vector))
    }

    /// The same with an eventfd that the caller brings, when a device process has one already. The one that the vector had, if
    /// any, is done with: what waits in it is delivered or stays pending, and what comes into it later reaches nobody.
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorOutOfRange`]; [`MsixError::Irqfd`] if it cannot be a vector's eventfd, and the vector goes on
    /// as it was.
    pub fn adopt_irqfd(&self, vector: usize, eventfd: OwnedFd) -> Result<B::Irqfd, MsixError> {
        let vector = self.check(vector)?;
        self.backend().adopt_irqfd(vector, eventfd).map_err(irqfd_error(vector))
    }

    /// Lets two vectors exchange their eventfds, of which either may have none: when a driver gives a queue another vector, its
    /// producer keeps its descriptor. What waits in an eventfd stays with its vector.
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorOutOfRange`]; [`MsixError::Irqfd`], and both vectors go on as they were.
    pub fn swap_irqfds(&self, a: usize, b: usize) -> Result<(), MsixError> {
        let (a, b) = (self.check(a)?, self.check(b)?);
        self.backend().swap_irqfds(a, b).map_err(irqfd_error(a))
    }
}

fn irqfd_error<E: Error + Send + Sync + 'static>(
    vector: VectorIndex,
) -> impl FnOnce(E) -> MsixError {
    move |source| MsixError::Irqfd { vector, source: Box::new(source) }
}

impl<B: MsiBackend + AsRawFd, O: MsixObserver> MsixConfig<B, O> {
    /// The socket to the process that delivers, for backends that have one: event loops and sandboxes need
    /// its number.
    pub fn get_msi_socket(&self) -> RawFd {
        self.backend().as_raw_fd()
    }
}

impl<B: MsiBackend + AsRawFd, O: MsixObserver> AsRawFd for MsixConfig<B, O> {
    fn as_raw_fd(&self) -> RawFd {
        self.get_msi_socket()
    }
}
