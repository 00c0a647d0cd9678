//! Which interrupt tells the driver what: the vector of each queue and of configuration changes (4.1.5.1).

use std::sync::{Arc, Mutex};

use vm_msix::MsiBackend;

use super::spec::{ISR_CONFIG, ISR_QUEUE, NO_VECTOR};
use crate::device::lock;
use crate::function::Interrupts;

/// The device's interrupts, by their reasons.
///
/// A vector is locked while it is signalled, so that after a write of its register nothing comes by the old one; a
/// register write holds the lock for no longer than a store.
pub(crate) struct Notifier<B: MsiBackend> {
    interrupts: Arc<Interrupts<B>>,
    config: Mutex<u16>,
    queues: Vec<Mutex<u16>>,
}

impl<B: MsiBackend> Notifier<B> {
    pub(crate) fn new(interrupts: Arc<Interrupts<B>>, queues: usize) -> Self {
        let queues = (0..queues).map(|_| Mutex::new(NO_VECTOR)).collect();
        Self { interrupts, config: Mutex::new(NO_VECTOR), queues }
    }

    /// Whether interrupts come by vectors at all.
    pub(crate) fn msix_enabled(&self) -> bool {
        self.interrupts.pin().msix_enabled()
    }

    /// Tells the driver that a queue has used buffers.
    pub(crate) fn queue_used(&self, queue: usize) {
        if !self.msix_enabled() {
            self.interrupts.pin().assert(ISR_QUEUE);
        } else if let Some(vector) = self.queues.get(queue) {
            self.signal(vector);
        }
    }

    /// Tells the driver that the configuration has changed, or that the device needs a reset.
    pub(crate) fn config_changed(&self) {
        // This bit is set with MSI-X too (4.1.4.5.1).
        self.interrupts.pin().assert(ISR_CONFIG);
        if self.msix_enabled() {
            self.signal(&self.config);
        }
    }

    /// Reads ISR status, which clears it and ends the interrupt.
    pub(crate) fn take_isr(&self) -> u8 {
        self.interrupts.pin().take()
    }

    /// ISR status, to save it.
    pub(crate) fn isr(&self) -> u8 {
        self.interrupts.pin().causes()
    }

    pub(crate) fn set_isr(&self, isr: u8) {
        self.interrupts.pin().take();
        self.interrupts.pin().assert(isr);
    }

    pub(crate) fn config_vector(&self) -> u16 {
        *lock(&self.config)
    }

    /// Takes a vector for configuration changes; one that does not exist becomes NO_VECTOR, which the driver sees.
    pub(crate) fn set_config_vector(&self, vector: u16) {
        *lock(&self.config) = self.existing(vector);
    }

    pub(crate) fn queue_vector(&self, queue: usize) -> u16 {
        self.queues.get(queue).map_or(NO_VECTOR, |vector| *lock(vector))
    }

    /// The same for a queue.
    pub(crate) fn set_queue_vector(&self, queue: usize, vector: u16) {
        if let Some(slot) = self.queues.get(queue) {
            *lock(slot) = self.existing(vector);
        }
    }

    /// Whether a vector may be in a register.
    pub(crate) fn is_vector(&self, vector: u16) -> bool {
        self.existing(vector) == vector
    }

    /// As after power-on.
    pub(crate) fn reset(&self) {
        for vector in self.queues.iter().chain([&self.config]) {
            *lock(vector) = NO_VECTOR;
        }
        self.take_isr();
    }

    fn existing(&self, vector: u16) -> u16 {
        if vector < self.interrupts.num_vectors() { vector } else { NO_VECTOR }
    }

    fn signal(&self, vector: &Mutex<u16>) {
        // NO_VECTOR is none of the function's, so that nothing is signalled then.
        self.interrupts.trigger(*lock(vector));
    }
}
