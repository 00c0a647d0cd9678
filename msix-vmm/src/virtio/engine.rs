//! What a device's worker works with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;
use vm_msix::MsiBackend;

use super::VirtioError;
use super::device::VirtioDevice;
use super::gate::{Gate, Hold};
use super::notifier::Notifier;
use super::ring::{After, Broken, Ring};
use super::serve::Serve;
use super::spec::feature;
use crate::device::lock;

/// What the queues offer whatever the device is.
const FEATURES: u64 = feature::VERSION_1 | feature::INDIRECT_DESC | feature::EVENT_IDX;

/// A worker of this process, which serves the queues of a device.
pub(crate) struct Local<B: MsiBackend, D> {
    pub(super) engine: Arc<Engine<B, D>>,
    worker: Option<JoinHandle<()>>,
}

impl<B: MsiBackend + 'static, D: VirtioDevice> Local<B, D> {
    pub(super) fn new(
        name: &str,
        device: D,
        memory: GuestMemoryMmap,
        notifier: Notifier<B>,
    ) -> Result<Self, VirtioError> {
        let queues = (0..device.queues()).map(|_| Mutex::new(None)).collect();
        let (gate, needs_reset) = (Gate::new(), AtomicBool::new(false));
        let engine = Arc::new(Engine { device, memory, queues, notifier, gate, needs_reset });
        let worker = thread::Builder::new().name(name.into()).spawn({
            let engine = Arc::clone(&engine);
            move || engine.work()
        })?;
        Ok(Self { engine, worker: Some(worker) })
    }
}

impl<B: MsiBackend, D> Drop for Local<B, D> {
    fn drop(&mut self) {
        self.engine.gate.end();
        if let Some(worker) = self.worker.take() {
            // It panicked; that has been printed.
            let _ = worker.join();
        }
    }
}

impl<B: MsiBackend + 'static, D: VirtioDevice> Serve<B> for Local<B, D> {
    fn features(&self) -> u64 {
        FEATURES | self.engine.device.features()
    }

    fn config(&self) -> &[u8] {
        self.engine.device.config()
    }

    fn memory(&self) -> &GuestMemoryMmap {
        &self.engine.memory
    }

    fn notifier(&self) -> &Notifier<B> {
        &self.engine.notifier
    }

    fn needs_reset(&self) -> bool {
        self.engine.needs_reset()
    }

    fn kick(&self, queue: usize) {
        self.engine.gate.kick(queue);
    }

    fn enable(&self, index: usize, queue: Queue) {
        *lock(&self.engine.queues[index]) = Some(queue);
        self.kick(index);
    }

    fn start(&self, _features: u64) {
        self.engine.gate.kick_all();
        self.engine.gate.release(Hold::Driver);
    }

    fn reset(&self) {
        self.engine.gate.hold(Hold::Driver);
        for queue in &self.engine.queues {
            *lock(queue) = None;
        }
        self.engine.device.reset();
        self.engine.needs_reset.store(false, Ordering::SeqCst);
    }

    fn set_bus_master(&self, allowed: bool) {
        if allowed {
            self.engine.gate.release(Hold::BusMaster);
        } else {
            self.engine.gate.hold(Hold::BusMaster);
        }
    }

    fn set_queue_vector(&self, queue: usize, vector: u16) {
        self.engine.notifier.set_queue_vector(queue, vector);
    }

    /// The notifier looks at each signal.
    fn msix_changed(&self) {}
}

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
