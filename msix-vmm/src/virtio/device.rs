//! What a virtio device is, without its transport.

use serde::Serialize;
use serde::de::DeserializeOwned;
use vm_pci_config::ClassCode;

use super::ring::{Broken, Ring};

/// A virtio device: what it is, and how it serves its queues.
pub(crate) trait VirtioDevice: Send + Sync + 'static {
    /// What it saves of itself; what is in guest memory, in its queues and on the host is not in it.
    type State: Serialize + DeserializeOwned;

    /// Its kind (virtio 1.2, section 5).
    fn id(&self) -> u16;

    /// What a driver that does not know virtio takes it for.
    fn class(&self) -> ClassCode;

    /// How many queues it has, at most 64.
    fn queues(&self) -> usize;

    /// The features that are its own.
    fn features(&self) -> u64;

    /// Its configuration, which drivers read.
    fn config(&self) -> &[u8];

    /// Serves what is available in a queue, as far as it can. Called by the device's one worker.
    ///
    /// # Errors
    ///
    /// The driver broke the rules, and the device needs a reset.
    fn serve(&self, queue: usize, ring: &mut Ring<'_>) -> Result<(), Broken>;

    /// Forgets the driver.
    fn reset(&self);

    /// What to save.
    fn save(&self) -> Self::State;

    /// Takes a saved state over.
    fn restore(&self, state: Self::State);
}
