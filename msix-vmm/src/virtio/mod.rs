//! virtio devices on the PCI bus: the modern transport, whose interrupts go through vm-msix, and three devices.

pub(crate) mod blk;
mod console;
mod device;
mod engine;
mod gate;
mod layout;
mod notifier;
mod registers;
mod ring;
mod rng;
mod saving;
mod serve;
mod spec;
#[cfg(test)]
pub(crate) mod tests;
mod transport;

use vm_msix::MsixError;
use vm_pci_config::PciConfigError;

use crate::device::DeviceError;

pub(crate) use blk::Block;
pub(crate) use console::Console;
pub(crate) use device::VirtioDevice;
pub(crate) use notifier::Notifier;
pub(crate) use rng::Entropy;
pub(crate) use serve::{Model, Serve};
pub(crate) use spec::{NO_VECTOR, feature};
pub(crate) use transport::{Transport, VirtioPci};

/// Why there is no device, or not this one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VirtioError {
    #[error(transparent)]
    Function(#[from] DeviceError),
    #[error("no thread for the device: {0}")]
    Thread(#[from] std::io::Error),
    #[error("saved state refused: {0}")]
    State(#[from] saving::StateFault),
}

impl From<MsixError> for VirtioError {
    fn from(error: MsixError) -> Self {
        Self::Function(error.into())
    }
}

impl From<PciConfigError> for VirtioError {
    fn from(error: PciConfigError) -> Self {
        Self::Function(error.into())
    }
}
