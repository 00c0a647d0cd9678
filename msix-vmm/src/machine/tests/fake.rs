//! A bus made by hand: one PCI device, and a record of every access.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use crate::machine::{Bus, Width};

/// An access as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    IoRead(u16, usize),
    IoWrite(u16, Vec<u8>),
    MmioRead(u64, usize),
    MmioWrite(u64, Vec<u8>),
}

/// Configuration space: what it holds, and which bits a write changes.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) bytes: [u8; 256],
    pub(super) writable: [u8; 256],
}

impl Config {
    pub(super) fn set(&mut self, offset: usize, value: u32, writable: u32) {
        self.bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        self.writable[offset..offset + 4].copy_from_slice(&writable.to_le_bytes());
    }

    pub(super) fn get(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.bytes[offset..offset + 4].try_into().unwrap())
    }

    /// A device with four BARs and two capabilities, as firmware has not found it yet.
    pub(super) fn device() -> Self {
        let mut config = Self { bytes: [0; 256], writable: [0; 256] };
        config.set(0x00, 0x5678_1234, 0);
        config.set(0x04, 0x0010_0000, 0x0000_0547);
        config.set(0x10, 0x0000_0000, 0xffff_f000); // BAR 0: 32 bits, 4 KiB
        config.set(0x14, 0x0000_c001, 0xffff_ffe0); // BAR 1: I/O, 32 ports
        config.set(0x18, 0x0000_000c, 0xffff_0000); // BAR 2: 64 bits, prefetchable, 64 KiB
        config.set(0x1c, 0x0000_0000, 0xffff_ffff);
        config.set(0x24, 0x0000_0000, 0xffff_fc00); // BAR 5: 32 bits, 1 KiB
        config.set(0x34, 0x0000_0043, 0); // the low two bits of the pointer are reserved
        config.set(0x40, 0x0000_5009, 0); // vendor-specific
        config.set(0x50, 0x07ff_0011, 0xc000_0000); // MSI-X, 2048 vectors
        config.set(0x54, 0x0000_0002, 0);
        config.set(0x58, 0x0000_8002, 0);
        config
    }
}

/// The device number that the device is at.
pub(super) const SLOT: u32 = 5;

type Hook = Box<dyn Fn(u64) + Send + Sync>;

/// The bus. Whatever is not configuration space answers with a pattern of its address.
pub(super) struct FakeBus {
    state: Mutex<State>,
    on_mmio_write: OnceLock<Hook>,
}

struct State {
    address: u32,
    config: Config,
    seen: Vec<Seen>,
    threads: Vec<PathBuf>,
}

impl FakeBus {
    pub(super) fn new(config: Config) -> Self {
        let state = State { address: 0, config, seen: Vec::new(), threads: Vec::new() };
        Self { state: Mutex::new(state), on_mmio_write: OnceLock::new() }
    }

    /// From now on `hook` is called, with the address, in every MMIO write.
    pub(super) fn on_mmio_write(&self, hook: impl Fn(u64) + Send + Sync + 'static) {
        assert!(self.on_mmio_write.set(Box::new(hook)).is_ok());
    }

    /// The accesses since the last call.
    pub(super) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    pub(super) fn config(&self, offset: usize) -> u32 {
        self.state.lock().unwrap().config.get(offset)
    }

    /// The threads that accesses came from, as entries of /proc.
    pub(super) fn threads(&self) -> Vec<PathBuf> {
        self.state.lock().unwrap().threads.clone()
    }

    fn record(&self, seen: Seen) {
        let mut state = self.state.lock().unwrap();
        state.seen.push(seen);
        let thread = PathBuf::from("/proc").join(fs::read_link("/proc/thread-self").unwrap());
        if !state.threads.contains(&thread) {
            state.threads.push(thread);
        }
    }
}

/// What a read of anything but configuration space returns.
pub(super) fn pattern(address: u64, width: Width) -> u64 {
    let bytes = (0..width.bytes()).map(|index| pattern_byte(address, index));
    bytes.rev().fold(0, |value, byte| value << 8 | u64::from(byte))
}

fn pattern_byte(address: u64, index: usize) -> u8 {
    (address as u8).wrapping_mul(3).wrapping_add(0x81).wrapping_add(0x11 * index as u8)
}

fn fill(address: u64, data: &mut [u8]) {
    data.iter_mut().enumerate().for_each(|(index, byte)| *byte = pattern_byte(address, index));
}

impl State {
    /// The range of configuration space that an access to the data port means.
    fn selected(&self, port: u16, bytes: usize) -> Option<std::ops::Range<usize>> {
        let start = (self.address & 0xfc) as usize + usize::from(port & 3);
        let device = self.address & 0x80ff_ff00 == 1 << 31 | SLOT << 11;
        device.then_some(start..start + bytes)
    }
}

impl Bus for FakeBus {
    fn io_read(&self, port: u16, data: &mut [u8]) {
        self.record(Seen::IoRead(port, data.len()));
        let state = self.state.lock().unwrap();
        match (port, state.selected(port, data.len())) {
            (0xcfc..0xd00, Some(range)) => data.copy_from_slice(&state.config.bytes[range]),
            (0xcfc..0xd00, None) => {}
            _ => fill(port.into(), data),
        }
    }

    fn io_write(&self, port: u16, data: &[u8]) {
        self.record(Seen::IoWrite(port, data.to_vec()));
        let mut state = self.state.lock().unwrap();
        match (port, state.selected(port, data.len())) {
            (0xcf8, _) => state.address = u32::from_le_bytes(data.try_into().unwrap()),
            (0xcfc..0xd00, Some(range)) => {
                for (offset, byte) in range.zip(data) {
                    let mask = state.config.writable[offset];
                    let kept = state.config.bytes[offset] & !mask;
                    state.config.bytes[offset] = kept | byte & mask;
                }
            }
            _ => {}
        }
    }

    fn mmio_read(&self, address: u64, data: &mut [u8]) {
        self.record(Seen::MmioRead(address, data.len()));
        fill(address, data);
    }

    fn mmio_write(&self, address: u64, data: &[u8]) {
        self.record(Seen::MmioWrite(address, data.to_vec()));
        if let Some(hook) = self.on_mmio_write.get() {
            hook(address);
        }
    }
}
