//! What can be wrong with a backend.

use std::io;
use std::path::PathBuf;

use crate::device::DeviceError;

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VhostUserError {
    #[error("{}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Backend { path: PathBuf, source: Fault },
    #[error(transparent)]
    Function(#[from] DeviceError),
    /// The host had no thread or no descriptor for it.
    #[error("{0}")]
    Host(#[from] io::Error),
}

/// What a backend did, or did not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the backend does not answer")]
    Late,
    #[error("the backend has closed the connection, or says what nobody asked for")]
    HungUp,
    #[error("{0}")]
    Protocol(#[from] vhost::Error),
    #[error("the backend is older than virtio 1.0")]
    Legacy,
    #[error("the backend has {0} queues, 1 to 64 are possible")]
    Queues(usize),
    #[error("the backend stopped a queue at {0}, of 65536 places")]
    Base(u32),
    #[error("a queue is not in memory")]
    Address,
    #[error("{0}")]
    Host(#[from] io::Error),
}
