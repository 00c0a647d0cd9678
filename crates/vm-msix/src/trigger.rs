//! The device's end of a vector.

use alloc::sync::Arc;

use crate::backend::{MsiBackend, Signal};
use crate::error::MsixError;
use crate::observer::MsixObserver;
use crate::vector::VectorIndex;

/// Signals one vector, from any thread, without a lock.
///
/// Clone it into whatever produces interrupts. It reaches the latch directly: no register write, system call
/// or remote call of another thread can hold it up. It stays valid for as long as it is kept; after the
/// function is gone its signals are latched and reach nobody.
#[derive(Debug)]
pub struct Trigger<B, O = ()> {
    vector: VectorIndex,
    backend: Arc<B>,
    observer: Arc<O>,
}

impl<B: MsiBackend, O: MsixObserver> Trigger<B, O> {
    pub(crate) fn new(vector: VectorIndex, backend: Arc<B>, observer: Arc<O>) -> Self {
        Self { vector, backend, observer }
    }

    /// The vector it signals.
    pub fn vector(&self) -> VectorIndex {
        self.vector
    }

    /// Signals.
    ///
    /// # Errors
    ///
    /// [`MsixError::Trigger`] if the vector is open and its message could not be sent; the signal is
    /// not latched.
    #[inline]
    pub fn trigger(&self) -> Result<Signal, MsixError> {
        signal(&*self.backend, &*self.observer, self.vector)
    }
}

impl<B, O> Clone for Trigger<B, O> {
    fn clone(&self) -> Self {
        Self {
            vector: self.vector,
            backend: Arc::clone(&self.backend),
            observer: Arc::clone(&self.observer),
        }
    }
}

/// Signals a vector and tells the observer, when it is done.
#[inline]
pub(crate) fn signal<B: MsiBackend, O: MsixObserver>(
    backend: &B,
    observer: &O,
    vector: VectorIndex,
) -> Result<Signal, MsixError> {
    match backend.signal(vector) {
        Ok(signal) => {
            observer.signalled(vector, signal);
            Ok(signal)
        }
        Err(error) => {
            observer.signal_failed(vector, &error);
            Err(MsixError::trigger(vector, error))
        }
    }
}
