//! What a scenario can have the device do, whatever delivers its interrupts.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;

use vm_msix::{Counts, IrqfdBackend, MsiBackend, MsixError, Signal};

use crate::device::TestDevice;

/// The device's own actions.
pub(crate) trait DeviceSide: Send + Sync {
    /// Takes a latched signal back.
    fn retract(&self, vector: u16) -> Result<bool, MsixError>;
    /// Resets the function, as a function-level reset does.
    fn reset(&self);
    /// Whether the device should use MSI-X and not INTx.
    fn enabled(&self) -> bool;
    /// Vectors that are not routed as the registers ask.
    fn unsynced(&self) -> usize;
    /// What the observer counted.
    fn counts(&self) -> Counts;
}

impl<B: MsiBackend + 'static> DeviceSide for TestDevice<B> {
    fn retract(&self, vector: u16) -> Result<bool, MsixError> {
        self.msix().retract(vector)
    }

    fn reset(&self) {
        self.msix().reset();
    }

    fn enabled(&self) -> bool {
        self.msix().enabled()
    }

    fn unsynced(&self) -> usize {
        self.msix().unsynced().count()
    }

    fn counts(&self) -> Counts {
        self.msix().observer().counts()
    }
}

/// Whatever signals one vector: called from any thread, holds no lock.
pub(crate) type Producer =
    Arc<dyn Fn() -> Result<Signal, Box<dyn std::error::Error>> + Send + Sync>;

/// Producers inside the VMM: each has its trigger.
pub(crate) fn triggers<B: MsiBackend + 'static>(
    device: &TestDevice<B>,
) -> Result<Vec<Producer>, MsixError> {
    let msix = device.msix();
    let trigger = |vector| -> Result<Producer, MsixError> {
        let trigger = msix.trigger_handle(vector)?;
        Ok(Arc::new(move || Ok(trigger.trigger()?)))
    };
    (0..msix.num_vectors()).map(trigger).collect()
}

/// Producers that have nothing but a vector's descriptor, as vhost or another process has. Each keeps its vector
/// on the descriptor for as long as it lives.
pub(crate) fn descriptor_writers<B: IrqfdBackend<Irqfd: 'static> + 'static>(
    device: &TestDevice<B>,
) -> Result<Vec<Producer>, Box<dyn std::error::Error>> {
    let msix = device.msix();
    let writer = |vector| -> Result<Producer, Box<dyn std::error::Error>> {
        let irqfd = msix.get_irqfd(vector)?;
        let eventfd = File::from(irqfd.as_fd().try_clone_to_owned()?);
        Ok(Arc::new(move || {
            let _on_its_descriptor = &irqfd;
            (&eventfd).write_all(&1_u64.to_ne_bytes())?;
            Ok(Signal::HandedOver)
        }))
    };
    (0..msix.num_vectors().into()).map(writer).collect()
}
