//! What a device's worker works with.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;
use vm_msix::MsiBackend;

use super::device::VirtioDevice;
use super::gate::Gate;
use super::notifier::Notifier;
use super::ring::{After, Broken, Ring};
use crate::device::lock;

/// The device, its queues and its interrupts: shared by the registers and by the worker.
pub(super) struct Engine<B: MsiBackend, D> {
    pub(super) device: D,
    pub(super) memory: GuestMemoryMmap,
    /// The queues that the driver has enabled.
    pub(super) queues: Vec<Mutex<Option<Queue>>>,
    pub(super) notifier: Notifier<B>,
    pub(super) gate: Gate,
    /// The driver broke the rules: nothing is served before a reset.
    pub(super) needs_reset: AtomicBool,
}

impl<B: MsiBackend, D: VirtioDevice> Engine<B, D> {
    /// The worker's life.
    pub(super) fn work(&self) {
        while let Some(kicked) = self.gate.next() {
            for queue in (0..self.queues.len()).filter(|queue| kicked >> queue & 1 != 0) {
                self.serve(queue);
            }
        }
    }

    fn serve(&self, index: usize) {
        let mut slot = lock(&self.queues[index]);
        let Some(queue) = slot.as_mut().filter(|_| !self.needs_reset()) else { return };
        match self.turn(index, queue) {
            Ok(After { notify, again }) => {
                if notify {
                    self.notifier.queue_used(index);
                }
                if again {
                    self.gate.kick(index);
                }
            }
            Err(_) => self.break_down(),
        }
    }

    fn turn(&self, index: usize, queue: &mut Queue) -> Result<After, Broken> {
        let mut ring = Ring::new(queue, &self.memory);
        self.device.serve(index, &mut ring)?;
        ring.end()
    }

    /// Stops, and asks the driver for a reset (2.1.1).
    fn break_down(&self) {
        self.needs_reset.store(true, Ordering::SeqCst);
        self.notifier.config_changed();
    }

    pub(super) fn needs_reset(&self) -> bool {
        self.needs_reset.load(Ordering::SeqCst)
    }
}
