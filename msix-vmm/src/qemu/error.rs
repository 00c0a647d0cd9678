//! Why QEMU could not be asked.

use std::io;

use rustix::io::Errno;
use vm_msix::MsixError;
use vm_pci_config::PciConfigError;

/// Why there is no comparison: never that the two differ.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QemuError {
    #[error("{program} could not be started: {source}")]
    NotThere { program: String, source: io::Error },
    #[error("it has no device {0}")]
    NoDevice(&'static str),
    #[error("no device {name}, only {there}")]
    UnknownDevice { name: String, there: String },
    #[error("REQUIRE_QEMU is set, and {0}")]
    Required(Box<QemuError>),
    #[error("the machine could not be started: {0}")]
    NotStarted(String),
    #[error("the connection to QEMU: {0}")]
    Connection(io::Error),
    #[error("QEMU has ended the connection")]
    Ended,
    #[error("QEMU answered {0:?}")]
    Answer(String),
    #[error("the device shows no MSI-X as it was asked for: {0}")]
    Capability(String),
    #[error("QEMU did not take the signal of vector {0}")]
    NotTaken(u16),
    #[error("{call}: {errno}")]
    System { call: &'static str, errno: Errno },
    #[error(transparent)]
    Msix(#[from] MsixError),
    #[error(transparent)]
    Config(#[from] PciConfigError),
    #[error("files for QEMU: {0}")]
    Files(io::Error),
    #[error("the report could not be written: {0}")]
    Output(io::Error),
    #[error("no operations could be made up: {0}")]
    Generate(String),
}

impl QemuError {
    /// For a system call that failed.
    pub(super) fn call(call: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::System { call, errno }
    }
}
