//! A driver, a ring of its own, and a device whose requests take as long as a test wants.

use std::ops::Deref;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use vm_memory::{GuestAddress, GuestMemoryMmap};
use vm_msix::test_utils::MockBackend;
use vm_pci_config::ClassCode;

pub(super) use super::driver::*;
use crate::device::lock;
use crate::virtio::VirtioPci;
use crate::virtio::device::VirtioDevice;
use crate::virtio::ring::{Broken, Ring};

/// Bytes of guest memory.
pub(super) const MEMORY: u64 = 1 << 20;
/// Where the buffers of requests are.
pub(super) const BUFFERS: u64 = 0x8_0000;

/// A device in a machine, and its driver.
pub(super) struct Guest<D: VirtioDevice> {
    pub(super) device: Arc<VirtioPci<Arc<MockBackend>, D>>,
    pub(super) backend: Arc<MockBackend>,
    pub(super) line: Arc<Line>,
    driver: Driver,
}

impl<D: VirtioDevice> Deref for Guest<D> {
    type Target = Driver;

    fn deref(&self) -> &Driver {
        &self.driver
    }
}

impl<D: VirtioDevice> Guest<D> {
    /// A device with so many vectors, its BARs placed and its capabilities found.
    pub(super) fn new(device: D, vectors: u16) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY as usize)]).unwrap();
        Self::with_memory(device, vectors, memory)
    }

    pub(super) fn with_memory(device: D, vectors: u16, memory: GuestMemoryMmap) -> Self {
        let backend = Arc::new(MockBackend::new(vectors).unwrap());
        let line = Arc::new(Line::default());
        let source = Arc::clone(&backend);
        let device =
            VirtioPci::new("test", device, vectors, source, line.clone(), memory.clone()).unwrap();
        let device = Arc::new(device);
        let driver = Driver::new(device.clone(), memory);
        Self { device, backend, line, driver }
    }

    /// Waits until so many requests of a ring are done, and the worker has said so.
    pub(super) fn wait_used(&self, ring: &DriverRing, count: u16) {
        wait_for(|| ring.used_index() == count);
        self.rest();
    }

    /// Waits until the worker has done all that it may.
    pub(super) fn rest(&self) {
        wait_for(|| self.device.server.engine.gate.is_resting());
    }

    /// The vectors whose messages were sent since this was last asked.
    pub(super) fn sent(&self) -> Vec<u16> {
        self.backend.take_sent().into_iter().map(|(vector, _)| vector).collect()
    }
}

impl Guest<Slow> {
    /// A slow device whose first queue runs, and signals by vector 1 of three.
    pub(super) fn running() -> (Self, Hands, DriverRing) {
        let (device, hands) = Slow::new();
        let guest = Self::new(device, 3);
        guest.bring_up(3);
        guest.set_queue_vector(0, 1);
        let ring = guest.start(1).remove(0);
        (guest, hands, ring)
    }

    /// One request of a queue, from its beginning to its interrupt.
    pub(super) fn complete(&self, hands: &Hands, ring: &mut DriverRing, queue: u16) {
        let before = ring.used_index();
        hands.end.send(()).unwrap();
        ring.add(&[(BUFFERS, 1, false)]);
        self.kick(queue);
        self.wait_used(ring, before + 1);
    }
}

/// A device with two queues that has begun a request when it says so, and ends it when it is let.
pub(super) struct Slow {
    begun: Mutex<Sender<()>>,
    end: Mutex<Receiver<()>>,
}

/// The test's hands on it.
pub(super) struct Hands {
    pub(super) begun: Receiver<()>,
    pub(super) end: Sender<()>,
}

impl Slow {
    pub(super) fn new() -> (Self, Hands) {
        let (begin, begun) = channel();
        let (end, ended) = channel();
        (Self { begun: Mutex::new(begin), end: Mutex::new(ended) }, Hands { begun, end })
    }
}

impl VirtioDevice for Slow {
    type State = ();

    fn id(&self) -> u16 {
        42
    }

    fn class(&self) -> ClassCode {
        ClassCode::default()
    }

    fn queues(&self) -> usize {
        2
    }

    fn features(&self) -> u64 {
        1
    }

    fn config(&self) -> &[u8] {
        &[1, 2, 3]
    }

    fn serve(&self, _queue: usize, ring: &mut Ring<'_>) -> Result<(), Broken> {
        while let Some(chain) = ring.pop()? {
            let head = chain.head_index();
            lock(&self.begun).send(()).unwrap();
            lock(&self.end).recv().unwrap();
            ring.push(head, 0)?;
        }
        Ok(())
    }

    fn reset(&self) {}

    fn save(&self) {}

    fn restore(&self, (): ()) {}
}
