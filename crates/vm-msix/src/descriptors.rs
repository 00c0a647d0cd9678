//! What has a descriptor: vectors given to others, and backends that live behind a socket.

use alloc::boxed::Box;
use std::os::fd::{AsRawFd, RawFd};

use crate::backend::{IrqfdBackend, MsiBackend};
use crate::config::MsixConfig;
use crate::error::MsixError;
use crate::observer::MsixObserver;

impl<B: IrqfdBackend, O: MsixObserver> MsixConfig<B, O> {
    /// Puts a vector on an eventfd, for a producer outside of this code (C13): whoever writes it signals, and is
    /// masked like anybody. Keep what is returned for as long as the producer lives.
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorOutOfRange`]; [`MsixError::Irqfd`], and the vector goes on as it was.
    pub fn get_irqfd(&self, vector: usize) -> Result<B::Irqfd, MsixError> {
        let vector = self.check(vector)?;
        self.backend()
            .irqfd(vector)
            .map_err(|source| MsixError::Irqfd { vector, source: Box::new(source) })
    }
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
