//! The file comes back as it was written, and no other file comes back at all.

use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;

const RAM: u64 = 3 << 20;
/// Where the state begins.
const STATE: usize = 28;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    name: String,
    numbers: Vec<u64>,
}

fn state() -> State {
    State { name: "a guest".into(), numbers: vec![0, 1, u64::MAX] }
}

/// Two ranges, as a guest with more memory than fits below 4 GiB has.
fn memory() -> GuestMemoryMmap {
    let ranges = [(GuestAddress(0), RAM as usize), (GuestAddress(1 << 32), RAM as usize)];
    GuestMemoryMmap::from_ranges(&ranges).unwrap()
}

fn contents(memory: &GuestMemoryMmap) -> Vec<u8> {
    let mut bytes = vec![0; 2 * RAM as usize];
    let (low, high) = bytes.split_at_mut(RAM as usize);
    memory.read_slice(low, GuestAddress(0)).unwrap();
    memory.read_slice(high, GuestAddress(1 << 32)).unwrap();
    bytes
}

/// Memory with something at its first byte and its last one, across runs, and nothing in most pages.
fn used_memory() -> GuestMemoryMmap {
    let memory = memory();
    for address in [0, 0x3fff, (1 << 20) - 1, 1 << 20, RAM - 1, 1 << 32, (1 << 32) + RAM - 1] {
        memory.write_slice(&[address as u8 | 1], GuestAddress(address)).unwrap();
    }
    memory
}

fn file() -> Vec<u8> {
    let mut file = Vec::new();
    write(&mut file, &state(), &used_memory()).unwrap();
    file
}

fn read(mut file: &[u8]) -> Result<(State, Vec<u8>), SnapshotError> {
    let memory = memory();
    let state = read_state(&mut file)?;
    read_memory(&mut file, &memory)?;
    Ok((state, contents(&memory)))
}

fn state_bytes() -> usize {
    postcard::to_stdvec(&state()).unwrap().len()
}

/// The file with its runs of memory replaced: of each the address, the length that it says, and the bytes that are there.
fn with_runs(runs: &[(u64, u64, &[u8])], count: u64) -> Vec<u8> {
    let mut file = file()[..STATE + state_bytes()].to_vec();
    for (address, length, bytes) in runs.iter().chain([&(END, count, &[][..])]) {
        let words = [address.to_le_bytes(), length.to_le_bytes()].concat();
        let checksum = crc32fast::hash(&[&words, *bytes].concat());
        file.extend([&words, &checksum.to_le_bytes()[..], bytes].concat());
    }
    file
}

fn set(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn state_and_memory_come_back() {
    let (read_state, read_memory) = read(&file()).unwrap();
    assert_eq!(read_state, state());
    assert!(read_memory == contents(&used_memory()), "memory is as it was");
}

#[test]
fn pages_that_are_zero_take_no_room() {
    let mut empty = Vec::new();
    write(&mut empty, &state(), &memory()).unwrap();
    assert_eq!(empty, with_runs(&[], 0));
    assert!(file().len() < 10 * 4096, "{} bytes for 7 pages", file().len());
}

#[test]
fn c14_a_file_that_ends_too_early_is_refused_wherever_it_ends() {
    let file = file();
    for end in (0..STATE + state_bytes() + 64).chain((STATE..file.len()).step_by(97)) {
        match read(&file[..end]) {
            Err(SnapshotError::NotASnapshot) if end < MARK.len() => {}
            Err(SnapshotError::Truncated) if end >= MARK.len() => {}
            other => panic!("{end} bytes: {:?}", other.map(|(state, _)| state)),
        }
    }
    assert!(matches!(read(&file[..file.len() - 1]), Err(SnapshotError::Truncated)));
}

#[test]
fn c14_a_bit_that_has_changed_is_found_wherever_it_is() {
    let good = file();
    for at in (0..STATE + state_bytes() + 64).chain((STATE..good.len()).step_by(97)) {
        let mut file = good.clone();
        file[at] ^= 1 << (at % 8);
        assert!(read(&file).is_err(), "byte {at}");
    }
}

#[test]
fn c14_another_mark_or_version_is_said_to_be_one() {
    assert!(matches!(read(b"#!/bin/sh\nexit\n"), Err(SnapshotError::NotASnapshot)));
    assert!(matches!(read(&set(0, b"M")), Err(SnapshotError::NotASnapshot)));
    let error = read(&set(12, &[7])).unwrap_err();
    assert!(matches!(error, SnapshotError::Version { found: 7, known: 1 }), "{error}");
}

#[test]
fn c14_a_state_of_any_length_but_its_own_is_refused() {
    let length = |bytes: u64| read(&set(16, &bytes.to_le_bytes())).unwrap_err();
    assert!(matches!(length(u64::MAX), SnapshotError::StateSize { bytes: u64::MAX, .. }));
    assert!(matches!(length(64 << 20), SnapshotError::Truncated));
    assert!(matches!(length(0), SnapshotError::Damaged { what: "state" }));
}

#[test]
fn c14_a_state_of_something_else_is_refused() {
    let mut longer = Vec::new();
    write(&mut longer, &(state(), 1_u8), &memory()).unwrap();
    assert!(matches!(read(&longer), Err(SnapshotError::State(_))), "something is left over");
    let mut shorter = Vec::new();
    write(&mut shorter, &"a guest", &memory()).unwrap();
    assert!(matches!(read(&shorter), Err(SnapshotError::State(_))), "something is missing");
}

#[test]
fn c14_memory_that_the_guest_has_not_is_refused() {
    let page = [1; 4096];
    for address in [RAM, RAM - 1, 1 << 40, u64::MAX - 4096] {
        let error = read(&with_runs(&[(address, 4096, &page)], 1)).unwrap_err();
        assert!(
            matches!(error, SnapshotError::Memory { bytes: 4096, .. }),
            "{address:#x}: {error}"
        );
    }
    assert!(read(&with_runs(&[(RAM - 4096, 4096, &page)], 1)).is_ok());
}

#[test]
fn c14_memory_that_comes_twice_or_in_disorder_or_is_nothing_is_refused() {
    let page = &[1; 4096][..];
    for second in [0, 4095] {
        let error = read(&with_runs(&[(0, 4096, page), (second, 4096, page)], 2)).unwrap_err();
        assert!(matches!(error, SnapshotError::Memory { .. }), "{error}");
    }
    let error = read(&with_runs(&[(0, 0, &[])], 1)).unwrap_err();
    assert!(matches!(error, SnapshotError::Memory { bytes: 0, .. }), "{error}");
}

#[test]
fn c14_a_run_that_is_longer_than_any_is_refused_before_it_is_read() {
    for length in [(1 << 20) + 1, u64::MAX] {
        let error = read(&with_runs(&[(0, length, &[])], 1)).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { what: "memory" }), "{error}");
    }
}

#[test]
fn c14_a_run_that_is_missing_or_too_many_is_found() {
    let page = &[1; 4096][..];
    for count in [0, 2] {
        let error = read(&with_runs(&[(0, 4096, page)], count)).unwrap_err();
        assert!(matches!(error, SnapshotError::Runs { found: 1, .. }), "{error}");
    }
}

#[test]
fn c14_nothing_may_follow() {
    let mut file = file();
    file.push(0);
    assert!(matches!(read(&file), Err(SnapshotError::Trailing)));
}
