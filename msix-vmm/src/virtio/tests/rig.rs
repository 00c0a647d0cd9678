//! A driver, a ring of its own, and a device whose requests take as long as a test wants.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vm_msix::MsiMessage;
use vm_msix::test_utils::{GuestDriver, MockBackend, RegisterAccess};
use vm_pci_config::ClassCode;

use crate::device::{PciDevice, lock};
use crate::intx::Intx;
use crate::virtio::VirtioPci;
use crate::virtio::device::VirtioDevice;
use crate::virtio::ring::{Broken, Ring};

/// Bytes of guest memory.
pub(super) const MEMORY: u64 = 1 << 20;
/// Where the buffers of requests are.
pub(super) const BUFFERS: u64 = 0x8_0000;
/// Where BAR 0 and BAR 2 are put.
const BARS: [u64; 2] = [0xc000_0000, 0xd000_0000];

pub(super) const VERSION_1: u64 = 1 << 32;
pub(super) const INDIRECT_DESC: u64 = 1 << 28;
pub(super) const NO_VECTOR: u16 = 0xffff;

/// A pin that counts how often it is raised.
#[derive(Default)]
pub(super) struct Line(AtomicUsize);

impl Intx for Line {
    fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Line {
    /// How often it was raised since this was last asked.
    pub(super) fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// A device in a machine, and where its driver has found everything.
pub(super) struct Guest<D: VirtioDevice> {
    pub(super) device: VirtioPci<Arc<MockBackend>, D>,
    pub(super) backend: Arc<MockBackend>,
    pub(super) line: Arc<Line>,
    pub(super) memory: GuestMemoryMmap,
    pub(super) common: u64,
    pub(super) notify: u64,
    pub(super) multiplier: u32,
    pub(super) isr: u64,
    pub(super) config: u64,
    pub(super) window: u16,
    msix: u16,
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
        let mut guest = Self {
            device,
            backend,
            line,
            memory,
            common: 0,
            notify: 0,
            multiplier: 0,
            isr: 0,
            config: 0,
            window: 0,
            msix: 0,
        };
        guest.write_config(0x10, BARS[0] as u32);
        guest.write_config(0x18, BARS[1] as u32);
        guest.write_config(0x04, 0x0006_u16);
        guest.find_capabilities();
        guest
    }

    fn find_capabilities(&mut self) {
        let mut at = self.read_config::<1>(0x34) as u16;
        while at != 0 {
            let [id, next, _, kind] = self.read_config::<4>(at).to_le_bytes()[..4] else {
                unreachable!()
            };
            let place = BARS[0] + self.read_config::<4>(at + 8);
            match (id, kind) {
                (0x09, 1) => self.common = place,
                (0x09, 2) => {
                    self.notify = place;
                    self.multiplier = self.read_config::<4>(at + 16) as u32;
                }
                (0x09, 3) => self.isr = place,
                (0x09, 4) => self.config = place,
                (0x09, 5) => self.window = at,
                (0x11, _) => self.msix = at,
                other => panic!("capability {other:?}"),
            }
            at = next.into();
        }
    }

    pub(super) fn read_config<const N: usize>(&self, at: u16) -> u64 {
        let mut data = [0; N];
        self.device.config_read(at, &mut data);
        number(&data)
    }

    pub(super) fn write_config(&self, at: u16, value: impl Bytewise) {
        self.device.config_write(at, &value.bytes());
    }

    pub(super) fn read<const N: usize>(&self, address: u64) -> u64 {
        let mut data = [0; N];
        assert!(self.device.mmio_read(address, &mut data), "{address:#x} is in a BAR");
        number(&data)
    }

    pub(super) fn write(&self, address: u64, value: impl Bytewise) {
        assert!(self.device.mmio_write(address, &value.bytes()), "{address:#x} is in a BAR");
    }

    pub(super) fn status(&self) -> u8 {
        self.read::<1>(self.common + 20) as u8
    }

    pub(super) fn set_status(&self, status: u8) {
        self.write(self.common + 20, status);
    }

    pub(super) fn features(&self) -> u64 {
        self.write(self.common, 0_u32);
        let low = self.read::<4>(self.common + 4);
        self.write(self.common, 1_u32);
        low | self.read::<4>(self.common + 4) << 32
    }

    pub(super) fn accept(&self, features: u64) {
        for (select, half) in [(0_u32, features as u32), (1, (features >> 32) as u32)] {
            self.write(self.common + 8, select);
            self.write(self.common + 12, half);
        }
    }

    pub(super) fn set_config_vector(&self, vector: u16) -> u16 {
        self.write(self.common + 16, vector);
        self.read::<2>(self.common + 16) as u16
    }

    pub(super) fn set_queue_vector(&self, queue: u16, vector: u16) -> u16 {
        self.write(self.common + 22, queue);
        self.write(self.common + 26, vector);
        self.read::<2>(self.common + 26) as u16
    }

    /// Tells the device where a queue is, and enables it; the ring, for the driver.
    pub(super) fn enable_queue(&self, queue: u16) -> DriverRing {
        let ring = DriverRing::new(self.memory.clone(), 0x1_0000 * u64::from(queue));
        self.write(self.common + 22, queue);
        self.write(self.common + 24, DriverRing::SIZE);
        self.write(self.common + 32, ring.base);
        self.write(self.common + 40, ring.base + DriverRing::AVAILABLE);
        self.write(self.common + 48, ring.base + DriverRing::USED);
        self.write(self.common + 28, 1_u16);
        assert_eq!(self.read::<2>(self.common + 28), 1, "queue {queue} is enabled");
        ring
    }

    /// Negotiates all but EVENT_IDX, enables these queues and is ready. Vectors stay as they are.
    pub(super) fn start(&self, queues: u16) -> Vec<DriverRing> {
        self.set_status(1);
        self.set_status(3);
        self.accept(self.features() & !(1 << 29));
        self.set_status(3 | 8);
        assert_eq!(self.status(), 3 | 8);
        let rings = (0..queues).map(|queue| self.enable_queue(queue)).collect();
        self.set_status(3 | 8 | 4);
        rings
    }

    pub(super) fn kick(&self, queue: u16) {
        self.write(self.notify + u64::from(queue) * u64::from(self.multiplier), queue);
    }

    /// MSI-X as a driver programs it, one message a vector.
    pub(super) fn msix(&self) -> GuestDriver<&Self> {
        GuestDriver::new(self)
    }

    /// Brings all vectors up.
    pub(super) fn bring_up(&self, vectors: u16) {
        let messages: Vec<_> = (0..vectors).map(message).collect();
        self.msix().bring_up(&messages);
    }

    /// Waits until so many requests of a ring are done, and the worker has said so.
    pub(super) fn wait_used(&self, ring: &DriverRing, count: u16) {
        wait_for(|| ring.used_index() == count);
        self.rest();
    }

    /// Waits until the worker has done all that it may.
    pub(super) fn rest(&self) {
        wait_for(|| self.device.engine.gate.is_resting());
    }

    /// The vectors whose messages were sent since this was last asked.
    pub(super) fn sent(&self) -> Vec<u16> {
        self.backend.take_sent().into_iter().map(|(vector, _)| vector).collect()
    }
}

pub(super) fn message(vector: u16) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, 0x40 + u32::from(vector))
}

impl<D: VirtioDevice> RegisterAccess for &Guest<D> {
    fn read_table(&mut self, offset: u64) -> u32 {
        self.read::<4>(BARS[1] + offset) as u32
    }

    fn write_table(&mut self, offset: u64, value: u32) {
        self.write(BARS[1] + offset, value);
    }

    fn read_pba(&mut self, offset: u64) -> u64 {
        let pba = self.read_config::<4>(self.msix + 8) & !7;
        self.read::<8>(BARS[1] + pba + offset)
    }

    fn read_control(&mut self) -> u16 {
        self.read_config::<2>(self.msix + 2) as u16
    }

    fn write_control(&mut self, value: u16) {
        self.write_config(self.msix + 2, value);
    }
}

/// A split queue from the driver's side, laid out by the specification (2.7).
pub(super) struct DriverRing {
    pub(super) memory: GuestMemoryMmap,
    pub(super) base: u64,
    descriptors: u16,
    available: u16,
}

/// A buffer: address, length, and whether the device may write it.
pub(super) type Buffer = (u64, u32, bool);

impl DriverRing {
    pub(super) const SIZE: u16 = 16;
    pub(super) const AVAILABLE: u64 = 0x1000;
    pub(super) const USED: u64 = 0x2000;

    pub(super) fn new(memory: GuestMemoryMmap, base: u64) -> Self {
        Self { memory, base, descriptors: 0, available: 0 }
    }

    /// Makes a request available.
    pub(super) fn add(&mut self, buffers: &[Buffer]) {
        let head = self.descriptors % Self::SIZE;
        for (position, (address, length, writable)) in buffers.iter().enumerate() {
            let index = self.descriptors % Self::SIZE;
            let next = (index + 1) % Self::SIZE;
            let more = position + 1 < buffers.len();
            let flags = u16::from(more) | u16::from(*writable) << 1;
            self.describe(index, *address, *length, flags, next);
            self.descriptors += 1;
        }
        self.offer(head);
    }

    pub(super) fn describe(&self, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        let at = self.base + 16 * u64::from(index);
        self.put(at, address);
        self.put(at + 8, length);
        self.put(at + 12, flags);
        self.put(at + 14, next);
    }

    /// Makes the chain from this descriptor on available.
    pub(super) fn offer(&mut self, head: u16) {
        let slot = u64::from(self.available % Self::SIZE);
        self.put(self.base + Self::AVAILABLE + 4 + 2 * slot, head);
        self.available += 1;
        self.set_available(self.available);
    }

    pub(super) fn set_available(&self, index: u16) {
        self.put(self.base + Self::AVAILABLE + 2, index);
    }

    pub(super) fn used_index(&self) -> u16 {
        self.memory.read_obj(GuestAddress(self.base + Self::USED + 2)).unwrap()
    }

    /// Bytes that the device says it wrote, for the request that it gave back as this one.
    pub(super) fn used_length(&self, position: u16) -> u32 {
        let slot = u64::from(position % Self::SIZE);
        let at = self.base + Self::USED + 4 + 8 * slot + 4;
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    fn put(&self, at: u64, value: impl Bytewise) {
        self.memory.write_slice(&value.bytes(), GuestAddress(at)).unwrap();
    }
}

/// Numbers as the bus carries them.
pub(super) trait Bytewise {
    fn bytes(self) -> Vec<u8>;
}

macro_rules! bytewise {
    ($($number:ty),*) => {$(
        impl Bytewise for $number {
            fn bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }
        }
    )*};
}

bytewise!(u8, u16, u32, u64);

fn number(data: &[u8]) -> u64 {
    data.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Waits; a device that hangs is found, but no time is judged.
pub(super) fn wait_for(mut done: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < patience, "it does not come");
        thread::yield_now();
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
