//! What the devices do with requests.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::rig::{BUFFERS, Guest, wait_for};
use crate::device::lock;
use crate::virtio::blk::Access;
use crate::virtio::saving::VirtioStateV1;
use crate::virtio::{Block, Console, Entropy};

/// Where the header, the data and the status of a block request are.
const HEADER: u64 = BUFFERS;
const DATA: u64 = BUFFERS + 0x1000;
const STATUS: u64 = BUFFERS + 0x800;

fn bytes(memory: &GuestMemoryMmap, at: u64, length: usize) -> Vec<u8> {
    let mut data = vec![0; length];
    memory.read_slice(&mut data, GuestAddress(at)).unwrap();
    data
}

#[test]
fn entropy_fills_buffers_and_says_how_far() {
    let guest = Guest::new(Entropy, 2);
    let mut ring = guest.start(1).remove(0);
    ring.add(&[(BUFFERS, 64, true), (BUFFERS + 0x100, 64, true)]);
    ring.add(&[(BUFFERS + 0x2000, 0x8000, true)]);
    guest.kick(0);
    guest.wait_used(&ring, 2);
    assert_eq!((ring.used_length(0), ring.used_length(1)), (128, 4096));
    // 64 zeros in a row do not come by chance.
    assert_ne!(bytes(&guest.memory, BUFFERS, 64), [0; 64]);
    assert_ne!(bytes(&guest.memory, BUFFERS + 0x100, 64), [0; 64]);
    assert_ne!(bytes(&guest.memory, BUFFERS + 0x2000 + 4032, 64), [0; 64]);
    assert_eq!(bytes(&guest.memory, BUFFERS + 0x2000 + 4096, 64), [0; 64]);
}

/// A disk of three sectors and a bit, each filled with its number.
fn disk() -> File {
    let file = unlinked();
    for sector in 0..3_u8 {
        file.write_all_at(&[sector + 1; 512], u64::from(sector) * 512).unwrap();
    }
    file.set_len(3 * 512 + 100).unwrap();
    file
}

fn unlinked() -> File {
    let name = format!("vm-msix-disk-{}-{:x}", std::process::id(), fastrand::u64(..));
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

/// Does one block request with this much data; gives its status and the length that came back.
fn request(
    guest: &Guest<Block>,
    kind: u32,
    sector: u64,
    length: u32,
    device_writes: bool,
) -> (u8, u32) {
    guest.set_status(0);
    guest.memory.write_slice(&[0; 0x3000], GuestAddress(0)).unwrap();
    guest.memory.write_slice(&[0xff], GuestAddress(STATUS)).unwrap();
    guest.memory.write_slice(&kind.to_le_bytes(), GuestAddress(HEADER)).unwrap();
    guest.memory.write_slice(&sector.to_le_bytes(), GuestAddress(HEADER + 8)).unwrap();
    let mut ring = guest.start(1).remove(0);
    let data = (DATA, length, device_writes);
    let (header, status) = ((HEADER, 16, false), (STATUS, 1, true));
    if length == 0 {
        ring.add(&[header, status]);
    } else {
        ring.add(&[header, data, status]);
    }
    guest.kick(0);
    guest.wait_used(&ring, 1);
    (bytes(&guest.memory, STATUS, 1)[0], ring.used_length(0))
}

#[test]
fn a_disk_says_its_capacity_in_whole_sectors_and_its_queues() {
    let guest = Guest::new(Block::new(disk(), Access::ReadWrite, "disk", 4).unwrap(), 5);
    assert_eq!(guest.read::<8>(guest.config), 3);
    assert_eq!(guest.read::<4>(guest.config + 12), 126, "segments");
    assert_eq!(guest.read::<2>(guest.config + 34), 4, "queues");
    assert_eq!(guest.read::<2>(guest.common + 18), 4);
    assert_eq!(guest.features() & (1 << 5 | 1 << 9 | 1 << 12), 1 << 9 | 1 << 12);
}

#[test]
fn a_disk_reads_writes_and_flushes() {
    let file = disk();
    let block = Block::new(file.try_clone().unwrap(), Access::ReadWrite, "disk", 1).unwrap();
    let guest = Guest::new(block, 2);
    assert_eq!(request(&guest, 0, 1, 1024, true), (0, 1025));
    assert_eq!(bytes(&guest.memory, DATA, 1024), [[2; 512], [3; 512]].concat());
    guest.memory.write_slice(&[9; 512], GuestAddress(DATA)).unwrap();
    assert_eq!(request(&guest, 1, 2, 512, false), (0, 1));
    let mut sectors = [0; 1024];
    file.read_exact_at(&mut sectors, 512).unwrap();
    assert_eq!(sectors.to_vec(), [[2; 512], [9; 512]].concat());
    assert_eq!(request(&guest, 4, 0, 0, false), (0, 1));
}

#[test]
fn a_disk_has_a_name() {
    let guest = Guest::new(Block::new(disk(), Access::ReadWrite, "disk", 1).unwrap(), 2);
    assert_eq!(request(&guest, 8, 0, 20, true), (0, 21));
    assert_eq!(bytes(&guest.memory, DATA, 20), b"disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn requests_that_a_disk_cannot_do_fail_by_their_status() {
    let guest = Guest::new(Block::new(disk(), Access::ReadWrite, "disk", 1).unwrap(), 2);
    for (sector, length) in [(3, 512), (2, 1024), (u64::MAX, 512), (u64::MAX / 512, 512), (0, 100)]
    {
        assert_eq!(request(&guest, 0, sector, length, true), (1, 1), "{sector} {length}");
        assert_eq!(request(&guest, 1, sector, length, false), (1, 1), "{sector} {length}");
    }
    assert_eq!(request(&guest, 11, 0, 16, false), (2, 1), "no such kind");
}

#[test]
fn a_read_only_disk_is_not_written() {
    let file = disk();
    let block = Block::new(file.try_clone().unwrap(), Access::ReadOnly, "disk", 1).unwrap();
    let guest = Guest::new(block, 2);
    assert_ne!(guest.features() & 1 << 5, 0);
    guest.memory.write_slice(&[9; 512], GuestAddress(DATA)).unwrap();
    assert_eq!(request(&guest, 1, 0, 512, false), (1, 1));
    let mut sector = [0; 512];
    file.read_exact_at(&mut sector, 0).unwrap();
    assert_eq!(sector, [1; 512]);
}

/// What the guest has written.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_console_shows_what_the_guest_writes() {
    let screen = Screen::default();
    let guest = Guest::new(Console::new(screen.clone()), 3);
    let mut rings = guest.start(2);
    guest.memory.write_slice(b"hello, world", GuestAddress(BUFFERS)).unwrap();
    rings[1].add(&[(BUFFERS, 5, false), (BUFFERS + 5, 7, false)]);
    guest.kick(1);
    guest.wait_used(&rings[1], 1);
    assert_eq!(*lock(&screen.0), b"hello, world");
}

#[test]
fn a_console_keeps_input_until_there_is_a_buffer() {
    let guest = Guest::new(Console::new(std::io::sink()), 3);
    guest.bring_up(3);
    guest.set_queue_vector(0, 1);
    let mut rings = guest.start(2);
    assert_eq!(guest.device.input(b"abcdef"), 6);
    guest.rest();
    assert_eq!((rings[0].used_index(), guest.sent()), (0, vec![]));
    rings[0].add(&[(BUFFERS, 4, true)]);
    guest.kick(0);
    guest.wait_used(&rings[0], 1);
    assert_eq!(rings[0].used_length(0), 4);
    rings[0].add(&[(BUFFERS + 4, 4, true)]);
    rings[0].add(&[(BUFFERS + 8, 4, true)]);
    guest.kick(0);
    guest.wait_used(&rings[0], 2);
    assert_eq!(bytes(&guest.memory, BUFFERS, 6), b"abcdef");
    assert_eq!(rings[0].used_length(1), 2);
    assert_eq!(guest.sent(), [1, 1]);
    // The buffer that is left takes what comes next, without a kick.
    assert_eq!(guest.device.input(b"x"), 1);
    wait_for(|| rings[0].used_index() == 3);
    assert_eq!(bytes(&guest.memory, BUFFERS + 8, 1), b"x");
}

#[test]
fn a_console_takes_no_more_input_than_it_keeps() {
    let guest = Guest::new(Console::new(std::io::sink()), 3);
    assert_eq!(guest.device.input(&[1; 10_000]), 4096);
    assert_eq!(guest.device.input(&[1]), 0);
}

#[test]
fn waiting_input_travels() {
    let old = Guest::new(Console::new(std::io::sink()), 3);
    let mut ring = old.start(2).remove(0);
    old.device.input(b"later");
    old.device.pause();
    let state = serde_json::to_string(&old.device.save()).unwrap();
    let state: VirtioStateV1<_> = serde_json::from_str(&state).unwrap();
    let new = Guest::with_memory(Console::new(std::io::sink()), 3, old.memory.clone());
    new.device.restore(state).unwrap();
    new.device.resume();
    ring.add(&[(BUFFERS, 16, true)]);
    new.kick(0);
    new.wait_used(&ring, 1);
    assert_eq!(bytes(&new.memory, BUFFERS, 5), b"later");
}
