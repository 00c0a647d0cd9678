//! What a scenario can have the device do, whatever delivers its interrupts.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vm_msix::{Counts, IrqfdBackend, MsiBackend, MsixError, MsixStateV1, Signal};

use crate::device::TestDevice;

/// Why the device did not do what it was asked.
#[derive(Debug, Deserialize, Serialize, thiserror::Error)]
#[error("the device: {0}")]
pub(crate) struct ActionError(pub(crate) String);

/// What became of an action.
pub(crate) type Done<T> = Result<T, ActionError>;

impl From<MsixError> for ActionError {
    fn from(error: MsixError) -> Self {
        Self(error.to_string())
    }
}

/// The device's own actions. Any of them fails where the device is gone.
pub(crate) trait DeviceSide: Send + Sync {
    /// Takes a latched signal back.
    fn retract(&self, vector: u16) -> Done<bool>;
    /// Resets the function, as a function-level reset does.
    fn reset(&self) -> Done<()>;
    /// Saves the function, which is paused meanwhile.
    fn save(&self) -> Done<MsixStateV1>;
    /// Restores the function.
    fn restore(&self, state: &MsixStateV1) -> Done<()>;
    /// Whether the device should use MSI-X and not INTx.
    fn enabled(&self) -> Done<bool>;
    /// Vectors that are not routed as the registers ask.
    fn unsynced(&self) -> Done<usize>;
    /// Waits until every vector is routed as the registers ask.
    fn flush(&self) -> Done<()>;
    /// What the observer has counted.
    fn counts(&self) -> Done<Counts>;
}

impl<B: MsiBackend + 'static> DeviceSide for TestDevice<B> {
    fn retract(&self, vector: u16) -> Done<bool> {
        Ok(self.msix().retract(vector)?)
    }

    fn reset(&self) -> Done<()> {
        self.msix().reset();
        Ok(())
    }

    fn save(&self) -> Done<MsixStateV1> {
        let mut msix = self.msix();
        msix.pause();
        let state = msix.snapshot();
        msix.resume();
        Ok(state)
    }

    fn restore(&self, state: &MsixStateV1) -> Done<()> {
        Ok(self.msix().restore(state)?)
    }

    fn enabled(&self) -> Done<bool> {
        Ok(self.msix().enabled())
    }

    fn unsynced(&self) -> Done<usize> {
        Ok(self.msix().unsynced().count())
    }

    fn flush(&self) -> Done<()> {
        Ok(self.msix().flush()?)
    }

    fn counts(&self) -> Done<Counts> {
        Ok(self.msix().observer().counts())
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

/// Producers for vectors that are all on descriptors: every other one has nothing but its vector's descriptor, as
/// vhost or another process has, the rest are triggers. Each writer keeps its vector on the descriptor for as long as
/// it lives.
pub(crate) fn writers_and_triggers<B: IrqfdBackend<Irqfd: 'static> + 'static>(
    device: &TestDevice<B>,
) -> Result<Vec<Producer>, Box<dyn std::error::Error>> {
    let mut producers = triggers(device)?;
    for (vector, producer) in producers.iter_mut().enumerate() {
        let irqfd = device.msix().get_irqfd(vector)?;
        let eventfd = File::from(irqfd.as_fd().try_clone_to_owned()?);
        let trigger = Arc::clone(producer);
        *producer = Arc::new(move || {
            let _on_its_descriptor = &irqfd;
            if vector % 2 != 0 {
                return trigger();
            }
            (&eventfd).write_all(&1_u64.to_ne_bytes())?;
            Ok(Signal::HandedOver)
        });
    }
    Ok(producers)
}
