//! The driver's side of any virtio device on the PCI bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vm_msix::MsiMessage;
use vm_msix::test_utils::{GuestDriver, RegisterAccess};

use crate::device::PciDevice;
use crate::intx::Intx;

/// Where BAR 0 and BAR 2 are put.
const BARS: [u64; 2] = [0xc000_0000, 0xd000_0000];

pub(crate) const VERSION_1: u64 = 1 << 32;
pub(crate) const INDIRECT_DESC: u64 = 1 << 28;
pub(crate) const NO_VECTOR: u16 = 0xffff;

/// A pin that counts how often it is raised.
#[derive(Default)]
pub(crate) struct Line(AtomicUsize);

impl Intx for Line {
    fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Line {
    /// How often it was raised since this was last asked.
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// A device, and where its driver has found everything.
pub(crate) struct Driver {
    device: Arc<dyn PciDevice>,
    pub(crate) memory: GuestMemoryMmap,
    pub(crate) common: u64,
    pub(crate) notify: u64,
    pub(crate) multiplier: u32,
    pub(crate) isr: u64,
    pub(crate) config: u64,
    pub(crate) window: u16,
    msix: u16,
}

impl Driver {
    /// Places the device's BARs and finds its capabilities.
    pub(crate) fn new(device: Arc<dyn PciDevice>, memory: GuestMemoryMmap) -> Self {
        let mut driver = Self {
            device,
            memory,
            common: 0,
            notify: 0,
            multiplier: 0,
            isr: 0,
            config: 0,
            window: 0,
            msix: 0,
        };
        driver.write_config(0x10, BARS[0] as u32);
        driver.write_config(0x18, BARS[1] as u32);
        driver.write_config(0x04, 0x0006_u16);
        driver.find_capabilities();
        driver
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

    pub(crate) fn read_config<const N: usize>(&self, at: u16) -> u64 {
        let mut data = [0; N];
        self.device.config_read(at, &mut data);
        number(&data)
    }

    pub(crate) fn write_config(&self, at: u16, value: impl Bytewise) {
        self.device.config_write(at, &value.bytes());
    }

    pub(crate) fn read<const N: usize>(&self, address: u64) -> u64 {
        let mut data = [0; N];
        assert!(self.device.mmio_read(address, &mut data), "{address:#x} is in a BAR");
        number(&data)
    }

    pub(crate) fn write(&self, address: u64, value: impl Bytewise) {
        assert!(self.device.mmio_write(address, &value.bytes()), "{address:#x} is in a BAR");
    }

    pub(crate) fn status(&self) -> u8 {
        self.read::<1>(self.common + 20) as u8
    }

    pub(crate) fn set_status(&self, status: u8) {
        self.write(self.common + 20, status);
    }

    pub(crate) fn features(&self) -> u64 {
        self.write(self.common, 0_u32);
        let low = self.read::<4>(self.common + 4);
        self.write(self.common, 1_u32);
        low | self.read::<4>(self.common + 4) << 32
    }

    pub(crate) fn accept(&self, features: u64) {
        for (select, half) in [(0_u32, features as u32), (1, (features >> 32) as u32)] {
            self.write(self.common + 8, select);
            self.write(self.common + 12, half);
        }
    }

    pub(crate) fn set_config_vector(&self, vector: u16) -> u16 {
        self.write(self.common + 16, vector);
        self.read::<2>(self.common + 16) as u16
    }

    pub(crate) fn set_queue_vector(&self, queue: u16, vector: u16) -> u16 {
        self.write(self.common + 22, queue);
        self.write(self.common + 26, vector);
        self.read::<2>(self.common + 26) as u16
    }

    /// Tells the device where a queue is, and enables it; the ring, for the driver.
    pub(crate) fn enable_queue(&self, queue: u16) -> DriverRing {
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
    pub(crate) fn start(&self, queues: u16) -> Vec<DriverRing> {
        self.set_status(1);
        self.set_status(3);
        self.accept(self.features() & !(1 << 29));
        self.set_status(3 | 8);
        assert_eq!(self.status(), 3 | 8);
        let rings = (0..queues).map(|queue| self.enable_queue(queue)).collect();
        self.set_status(3 | 8 | 4);
        rings
    }

    pub(crate) fn kick(&self, queue: u16) {
        self.write(self.notify + u64::from(queue) * u64::from(self.multiplier), queue);
    }

    /// MSI-X as a driver programs it, one message a vector.
    pub(crate) fn msix(&self) -> GuestDriver<&Self> {
        GuestDriver::new(self)
    }

    /// Brings all vectors up.
    pub(crate) fn bring_up(&self, vectors: u16) {
        let messages: Vec<_> = (0..vectors).map(message).collect();
        self.msix().bring_up(&messages);
    }
}

pub(crate) fn message(vector: u16) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, 0x40 + u32::from(vector))
}

impl RegisterAccess for &Driver {
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
pub(crate) struct DriverRing {
    pub(crate) memory: GuestMemoryMmap,
    pub(crate) base: u64,
    descriptors: u16,
    available: u16,
}

/// A buffer: address, length, and whether the device may write it.
pub(crate) type Buffer = (u64, u32, bool);

impl DriverRing {
    pub(crate) const SIZE: u16 = 16;
    pub(crate) const AVAILABLE: u64 = 0x1000;
    pub(crate) const USED: u64 = 0x2000;

    pub(crate) fn new(memory: GuestMemoryMmap, base: u64) -> Self {
        Self { memory, base, descriptors: 0, available: 0 }
    }

    /// As a driver that begins anew.
    pub(crate) fn clear(&self) {
        self.put(self.base + Self::AVAILABLE, 0_u32);
        self.put(self.base + Self::USED, 0_u32);
    }

    /// Makes a request available.
    pub(crate) fn add(&mut self, buffers: &[Buffer]) {
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

    pub(crate) fn describe(&self, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        let at = self.base + 16 * u64::from(index);
        self.put(at, address);
        self.put(at + 8, length);
        self.put(at + 12, flags);
        self.put(at + 14, next);
    }

    /// Makes the chain from this descriptor on available.
    pub(crate) fn offer(&mut self, head: u16) {
        let slot = u64::from(self.available % Self::SIZE);
        self.put(self.base + Self::AVAILABLE + 4 + 2 * slot, head);
        self.available += 1;
        self.set_available(self.available);
    }

    pub(crate) fn set_available(&self, index: u16) {
        self.put(self.base + Self::AVAILABLE + 2, index);
    }

    pub(crate) fn used_index(&self) -> u16 {
        self.memory.read_obj(GuestAddress(self.base + Self::USED + 2)).unwrap()
    }

    /// Bytes that the device says it wrote, for the request that it gave back as this one.
    pub(crate) fn used_length(&self, position: u16) -> u32 {
        let slot = u64::from(position % Self::SIZE);
        let at = self.base + Self::USED + 4 + 8 * slot + 4;
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    fn put(&self, at: u64, value: impl Bytewise) {
        self.memory.write_slice(&value.bytes(), GuestAddress(at)).unwrap();
    }
}

/// Numbers as the bus carries them.
pub(crate) trait Bytewise {
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
pub(crate) fn wait_for(mut done: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < patience, "it does not come");
        thread::yield_now();
    }
}
