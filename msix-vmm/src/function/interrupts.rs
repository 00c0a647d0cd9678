//! How a device signals: from any thread, and without any lock that a register access holds.

use std::sync::Arc;

use vm_msix::{MsiBackend, MsixConfig, MsixError, Trigger};

use super::pin::Pin;
use super::watch::Watch;
use crate::intx::Intx;

/// The interrupts of a function: its vectors, and its pin for when MSI-X is not enabled.
pub(crate) struct Interrupts<B: MsiBackend> {
    vectors: Vec<Trigger<B, Arc<Watch>>>,
    watch: Arc<Watch>,
    pub(super) pin: Arc<Pin>,
}

impl<B: MsiBackend> Interrupts<B> {
    pub(super) fn new(
        msix: &MsixConfig<B, Arc<Watch>>,
        watch: Arc<Watch>,
        line: Arc<dyn Intx>,
    ) -> Result<Self, MsixError> {
        let vectors = (0..msix.num_vectors()).map(|vector| msix.trigger_handle(vector));
        let vectors = vectors.collect::<Result<_, _>>()?;
        Ok(Self { vectors, watch, pin: Arc::new(Pin::new(line)) })
    }

    /// How many vectors there are.
    pub(crate) fn num_vectors(&self) -> u16 {
        u16::try_from(self.vectors.len()).unwrap_or(u16::MAX)
    }

    /// Signals a vector, if it exists.
    pub(crate) fn trigger(&self, vector: u16) {
        if let Some(trigger) = self.vectors.get(usize::from(vector)) {
            let _turn = self.watch.turn();
            // The observer has counted a failure, and a device can do nothing about it.
            let _ = trigger.trigger();
        }
    }

    /// The pin.
    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }
}
