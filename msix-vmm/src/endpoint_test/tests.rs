//! The endpoint test device, as its driver uses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vm_msix::MsiMessage;
use vm_msix::test_utils::{GuestDriver, MockBackend, RegisterAccess};

use super::{EndpointTest, EndpointTestStateV1};
use crate::device::PciDevice;
use crate::intx::Intx;

const REGISTERS: u64 = 0xc000_0000;
const COMMAND: u64 = 0x04;
const STATUS: u64 = 0x08;
const SRC: u64 = 0x0c;
const DST: u64 = 0x14;
const SIZE: u64 = 0x1c;
const CHECKSUM: u64 = 0x20;
const IRQ_TYPE: u64 = 0x24;
const IRQ_NUMBER: u64 = 0x28;

const RAISED: u32 = 1 << 6;

#[derive(Default)]
struct Line(AtomicUsize);

impl Intx for Line {
    fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Guest {
    device: EndpointTest<Arc<MockBackend>>,
    backend: Arc<MockBackend>,
    line: Arc<Line>,
    memory: GuestMemoryMmap,
}

impl Guest {
    fn new(vectors: u16) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let backend = Arc::new(MockBackend::new(vectors).unwrap());
        let line = Arc::new(Line::default());
        let source = Arc::clone(&backend);
        let device =
            EndpointTest::new("test", vectors, source, line.clone(), memory.clone()).unwrap();
        let guest = Self { device, backend, line, memory };
        for bar in 0..6 {
            let address = REGISTERS as u32 + bar * 0x10_0000;
            guest.device.config_write(0x10 + 4 * bar as u16, &address.to_le_bytes());
        }
        guest.device.config_write(4, &[6, 0]);
        guest
    }

    fn read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        assert!(self.device.mmio_read(REGISTERS + offset, &mut data));
        u32::from_le_bytes(data)
    }

    fn write(&self, offset: u64, value: u32) {
        assert!(self.device.mmio_write(REGISTERS + offset, &value.to_le_bytes()));
    }

    fn msix(&self) -> GuestDriver<&Self> {
        GuestDriver::new(self)
    }

    /// Commands an interrupt of this type.
    fn raise(&self, command: u32, number: u32) {
        self.write(IRQ_NUMBER, number);
        self.write(COMMAND, command);
    }

    /// Commands a transfer that ends with MSI-X vector 0; gives the status.
    fn transfer(&self, command: u32, src: u32, dst: u32, size: u32) -> u32 {
        self.write(SRC, src);
        self.write(DST, dst);
        self.write(SIZE, size);
        self.write(IRQ_TYPE, 2);
        self.write(IRQ_NUMBER, 1);
        self.write(COMMAND, command);
        assert_eq!(self.sent(), [0]);
        self.read(STATUS)
    }

    fn sent(&self) -> Vec<u16> {
        self.backend.take_sent().into_iter().map(|(vector, _)| vector).collect()
    }
}

impl RegisterAccess for &Guest {
    fn read_table(&mut self, offset: u64) -> u32 {
        self.read(0x1000 + offset)
    }

    fn write_table(&mut self, offset: u64, value: u32) {
        self.write(0x1000 + offset, value);
    }

    fn read_pba(&mut self, offset: u64) -> u64 {
        let mut pba = [0; 4];
        self.device.config_read(0x48, &mut pba);
        let mut data = [0; 8];
        let at = REGISTERS + u64::from(u32::from_le_bytes(pba) & !7) + offset;
        assert!(self.device.mmio_read(at, &mut data));
        u64::from_le_bytes(data)
    }

    fn read_control(&mut self) -> u16 {
        let mut data = [0; 2];
        self.device.config_read(0x42, &mut data);
        u16::from_le_bytes(data)
    }

    fn write_control(&mut self, value: u16) {
        self.device.config_write(0x42, &value.to_le_bytes());
    }
}

fn up(vectors: u16) -> Guest {
    let guest = Guest::new(vectors);
    guest.msix().bring_up(&vec![MsiMessage::new(0xfee0_0000, 0x40); vectors.into()]);
    guest
}

/// The kernel's crc32_le(~0, ..), written plainly.
fn crc32_le(data: &[u8]) -> u32 {
    data.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xedb8_8320 }
        })
    })
}

#[test]
fn every_vector_comes_by_its_number() {
    for vectors in [1, 33, 2048] {
        let guest = up(vectors);
        for number in 1..=vectors {
            guest.raise(4, number.into());
            assert_eq!(guest.sent(), [number - 1]);
            assert_eq!(guest.read(STATUS), RAISED);
        }
    }
}

#[test]
fn a_number_that_no_vector_has_sends_nothing() {
    let guest = up(4);
    for number in [0, 5, 2049, 0x1_0001, u32::MAX] {
        guest.raise(4, number);
        assert_eq!(guest.sent(), [0_u16; 0]);
    }
}

#[test]
fn c3_a_masked_vector_pends_and_comes_once() {
    let guest = up(4);
    guest.msix().mask(2);
    guest.raise(4, 3);
    guest.raise(4, 3);
    assert_eq!(guest.sent(), [0_u16; 0]);
    assert!(guest.msix().is_pending(2));
    guest.msix().unmask(2);
    assert_eq!(guest.sent(), [2]);
}

#[test]
fn c6_the_pin_is_up_until_the_driver_clears_the_status() {
    let guest = Guest::new(4);
    let cause = guest.device.intx_cause();
    guest.raise(1, 0);
    assert_eq!(guest.line.0.load(Ordering::SeqCst), 1);
    assert!(cause.is_raised());
    guest.write(STATUS, 0);
    assert!(!cause.is_raised());
}

#[test]
fn with_msix_enabled_the_pin_stays_low() {
    let guest = up(4);
    guest.raise(1, 0);
    assert_eq!(guest.line.0.load(Ordering::SeqCst), 0);
    assert!(!guest.device.intx_cause().is_raised());
}

#[test]
fn msi_which_the_device_has_not_sends_nothing() {
    let guest = up(4);
    guest.raise(2, 1);
    assert_eq!((guest.sent(), guest.line.0.load(Ordering::SeqCst)), (vec![], 0));
}

#[test]
fn read_compares_the_checksum() {
    let guest = up(1);
    for size in [1, 1024, 65_536, 100_001] {
        let data: Vec<u8> = (0..size).map(|at| (at * 7 + at / 256) as u8).collect();
        guest.memory.write_slice(&data, GuestAddress(0x1003)).unwrap();
        guest.write(CHECKSUM, crc32_le(&data));
        assert_eq!(guest.transfer(8, 0x1003, 0, size), RAISED | 1);
        guest.write(CHECKSUM, crc32_le(&data) ^ 1);
        assert_eq!(guest.transfer(8, 0x1003, 0, size), RAISED | 2);
    }
}

#[test]
fn write_tells_the_checksum_of_what_it_wrote() {
    let guest = up(1);
    for size in [1_u32, 1024, 65_537] {
        guest.memory.write_slice(&[0; 0x2_0000], GuestAddress(0x1000)).unwrap();
        assert_eq!(guest.transfer(16, 0, 0x1000, size), RAISED | 4);
        let mut data = vec![0; size as usize];
        guest.memory.read_slice(&mut data, GuestAddress(0x1000)).unwrap();
        assert_eq!(guest.read(CHECKSUM), crc32_le(&data));
        let behind: u8 = guest.memory.read_obj(GuestAddress(0x1000 + u64::from(size))).unwrap();
        assert_eq!(behind, 0);
    }
    let tail: u64 = guest.memory.read_obj(GuestAddress(0x1000 + 65_529)).unwrap();
    assert_ne!(tail, 0, "8 zeros do not come by chance");
}

#[test]
fn copy_copies() {
    let guest = up(1);
    let data: Vec<u8> = (0..100_001_u32).map(|at| (at * 5 + at / 256) as u8).collect();
    guest.memory.write_slice(&data, GuestAddress(0x1000)).unwrap();
    assert_eq!(guest.transfer(32, 0x1000, 0x4_0001, 100_001), RAISED | 16);
    let mut copy = vec![0; data.len()];
    guest.memory.read_slice(&mut copy, GuestAddress(0x4_0001)).unwrap();
    assert!(copy == data);
}

/// The driver of Linux 6.12 only reads it.
#[test]
fn c6_the_pin_is_up_until_the_driver_reads_the_status() {
    let guest = Guest::new(1);
    guest.raise(1, 0);
    assert!(guest.device.intx_cause().is_raised());
    assert_eq!(guest.read(IRQ_NUMBER), 0);
    assert!(guest.device.intx_cause().is_raised(), "of STATUS, and of nothing else");
    assert_eq!(guest.read(STATUS), RAISED);
    assert!(!guest.device.intx_cause().is_raised());
    guest.raise(1, 0);
    assert!(guest.device.intx_cause().is_raised(), "and the next one comes");
}

#[test]
fn transfers_outside_of_memory_fail_by_their_status() {
    let guest = up(1);
    let (src_invalid, dst_invalid) = (1 << 7, 1 << 8);
    for (address, size) in [(0x10_0000, 1), (0xf_ffff, 2), (0xffff_ffff, 1), (0, u32::MAX)] {
        assert_eq!(guest.transfer(8, address, 0, size), RAISED | 2 | src_invalid);
        assert_eq!(guest.transfer(16, 0, address, size), RAISED | 8 | dst_invalid);
        let copied = guest.transfer(32, address, 0, size);
        assert_eq!(copied, RAISED | 32 | src_invalid);
    }
    guest.write(DST + 4, u32::MAX);
    assert_eq!(guest.transfer(16, 0, 0xffff_ffff, 1), RAISED | 8 | dst_invalid);
}

#[test]
fn without_bus_mastering_there_is_no_transfer() {
    let guest = up(1);
    guest.device.config_write(4, &[2, 0]);
    guest.write(SRC, 0x1000);
    guest.write(SIZE, 16);
    guest.write(COMMAND, 8);
    assert_eq!(guest.read(STATUS), RAISED | 2 | 1 << 7);
}

#[test]
fn every_other_bar_is_memory() {
    let guest = Guest::new(2048);
    for bar in 1..6_u64 {
        let start = REGISTERS + bar * 0x10_0000;
        guest.device.config_write(0x10 + 4 * bar as u16, &[0xff; 4]);
        let mut sized = [0; 4];
        guest.device.config_read(0x10 + 4 * bar as u16, &mut sized);
        guest.device.config_write(0x10 + 4 * bar as u16, &(start as u32).to_le_bytes());
        let size = u64::from(!u32::from_le_bytes(sized)) + 1;
        let value = |at: u64| ((bar << 24 | at) as u32).to_le_bytes();
        for at in (0..size).step_by(4) {
            assert!(guest.device.mmio_write(start + at, &value(at)));
        }
        for at in (0..size).step_by(4) {
            let mut data = [0; 4];
            assert!(guest.device.mmio_read(start + at, &mut data));
            assert_eq!(data, value(at));
        }
    }
    guest.write(0, 0xa0a0_a0a0);
    assert_eq!(guest.read(0), 0xa0a0_a0a0, "and so is the first register");
}

#[test]
fn c10_any_access_has_a_result() {
    let guest = up(3);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let address = REGISTERS + 0x10_0000 * random.u64(0..6) + random.u64(0..0x4000);
        let mut data = random.u64(..).to_le_bytes();
        let width = random.usize(0..=8);
        if random.bool() {
            guest.device.mmio_write(address, &data[..width]);
        } else {
            guest.device.mmio_read(address, &mut data[..width]);
        }
    }
    guest.msix().bring_up(&[MsiMessage::new(0xfee0_0000, 0x40); 3]);
    guest.sent();
    guest.raise(4, 2);
    assert_eq!(guest.sent(), [1]);
}

#[test]
fn c14_the_device_travels() {
    let old = up(4);
    old.msix().mask(2);
    old.raise(4, 3);
    old.device.mmio_write(REGISTERS + 0x10_0000, &[1, 2, 3, 4]);
    old.device.pause();
    let state = serde_json::to_string(&old.device.save()).unwrap();
    let state: EndpointTestStateV1 = serde_json::from_str(&state).unwrap();

    let new = Guest::new(4);
    new.device.restore(state.clone()).unwrap();
    new.device.resume();
    assert_eq!(new.read(STATUS), RAISED);
    let mut data = [0; 4];
    new.device.mmio_read(REGISTERS + 0x10_0000, &mut data);
    assert_eq!(data, [1, 2, 3, 4]);
    assert!(new.msix().is_pending(2));
    new.msix().unmask(2);
    assert_eq!(new.sent(), [2]);

    let mut cut = state.clone();
    cut.bars[4].pop();
    assert!(Guest::new(4).device.restore(cut).is_err());
    assert!(Guest::new(5).device.restore(state).is_err());
}

#[test]
fn c14_a_raised_pin_travels() {
    let old = Guest::new(4);
    old.raise(1, 0);
    old.device.pause();
    let new = Guest::new(4);
    new.device.restore(old.device.save()).unwrap();
    assert_eq!(new.line.0.load(Ordering::SeqCst), 0, "paused");
    new.device.resume();
    assert_eq!(new.line.0.load(Ordering::SeqCst), 1);
    assert!(new.device.intx_cause().is_raised());
}
