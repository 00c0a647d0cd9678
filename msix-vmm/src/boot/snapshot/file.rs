//! The file: a header, the state, and the memory that is not zero.
//!
//! | | |
//! |---|---|
//! | header | the mark, the version, the state's length and its CRC-32 |
//! | state | postcard |
//! | runs of memory, in the order of their addresses | address, length, CRC-32 of both and of the bytes; the bytes |
//! | end | [`END`], the number of runs, CRC-32 of both |
//!
//! Numbers are little-endian. The checksums find accidents; against intent everything is checked where it is used.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::error::SnapshotError;

const MARK: [u8; 12] = *b"msix-vmm\r\n\x1a\n";
const VERSION: u32 = 1;
/// More than 254 CPUs and 31 devices with 2048 vectors each come to.
const MOST_STATE: u64 = 64 << 20;
/// Bytes that a run has at most.
const MOST_RUN: u64 = 1 << 20;
/// Memory is looked at, and written, by pages.
const PAGE: usize = 4096;
/// No address of a run.
const END: u64 = u64::MAX;

/// Writes everything.
pub(super) fn write(
    file: &mut impl Write,
    state: &impl Serialize,
    memory: &GuestMemoryMmap,
) -> Result<(), SnapshotError> {
    let state = postcard::to_stdvec(state)?;
    file.write_all(&MARK)?;
    file.write_all(&VERSION.to_le_bytes())?;
    file.write_all(&(state.len() as u64).to_le_bytes())?;
    file.write_all(&crc32fast::hash(&state).to_le_bytes())?;
    file.write_all(&state)?;

    let mut runs = 0;
    for region in memory.iter() {
        let (start, end) = (region.start_addr().0, region.start_addr().0 + region.len());
        for address in (start..end).step_by(MOST_RUN as usize) {
            let mut bytes = vec![0; (end - address).min(MOST_RUN) as usize];
            let read = memory.read_slice(&mut bytes, GuestAddress(address));
            read.map_err(io::Error::other)?;
            for (offset, run) in used(&bytes) {
                write_run(file, address + offset as u64, run.len() as u64, run)?;
                runs += 1;
            }
        }
    }
    Ok(write_run(file, END, runs, &[])?)
}

/// Reads the state.
pub(super) fn read_state<T: DeserializeOwned>(file: &mut impl Read) -> Result<T, SnapshotError> {
    match array(file) {
        Ok(MARK) => {}
        Ok(_) | Err(SnapshotError::Truncated) => return Err(SnapshotError::NotASnapshot),
        Err(error) => return Err(error),
    }
    let found = number(file)?;
    if found != VERSION {
        return Err(SnapshotError::Version { found, known: VERSION });
    }
    let bytes = long_number(file)?;
    if bytes > MOST_STATE {
        return Err(SnapshotError::StateSize { bytes, max: MOST_STATE });
    }
    let checksum = number(file)?;
    let mut state = Vec::new();
    if file.take(bytes).read_to_end(&mut state)? as u64 != bytes {
        return Err(SnapshotError::Truncated);
    }
    if crc32fast::hash(&state) != checksum {
        return Err(SnapshotError::Damaged { what: "state" });
    }
    decode(&state)
}

/// Reads what follows the state into memory that is all zero.
pub(super) fn read_memory(
    file: &mut impl Read,
    memory: &GuestMemoryMmap,
) -> Result<(), SnapshotError> {
    let mut bytes = vec![0; MOST_RUN as usize];
    let (mut free, mut runs) = (0, 0);
    loop {
        let (address, length) = (long_number(file)?, long_number(file)?);
        let checksum = number(file)?;
        let run = if address == END { 0 } else { length };
        if run > MOST_RUN {
            return Err(SnapshotError::Damaged { what: "memory" });
        }
        let bytes = &mut bytes[..run as usize];
        fill(file, bytes)?;
        if checksum != checksum_of(address, length, bytes) {
            return Err(SnapshotError::Damaged { what: "memory" });
        }
        if address == END && length != runs {
            return Err(SnapshotError::Runs { found: runs, written: length });
        }
        if address == END {
            return nothing_follows(file);
        }
        // In their order, so that no run is written twice.
        let written = memory.write_slice(bytes, GuestAddress(address));
        if length == 0 || address < free || written.is_err() {
            return Err(SnapshotError::Memory { address, bytes: length });
        }
        free = address + length;
        runs += 1;
    }
}

/// All of what was encoded, and nothing behind it.
pub(in crate::boot) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SnapshotError> {
    match postcard::take_from_bytes(bytes)? {
        (state, []) => Ok(state),
        _ => Err(postcard::Error::SerdeDeCustom.into()),
    }
}

/// The runs of pages that are not all zero, and where they begin.
fn used(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let is_used = |page: &&[u8]| page.iter().any(|byte| *byte != 0);
    let pages: Vec<&[u8]> = bytes.chunks(PAGE).collect();
    let runs = pages.chunk_by(|one, next| is_used(one) == is_used(next));
    let mut offset = 0;
    let runs = runs.filter_map(|run| {
        let start = offset;
        offset += run.iter().map(|page| page.len()).sum::<usize>();
        is_used(&run[0]).then_some((start, &bytes[start..offset]))
    });
    runs.collect()
}

fn write_run(file: &mut impl Write, address: u64, length: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all(&address.to_le_bytes())?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(&checksum_of(address, length, bytes).to_le_bytes())?;
    file.write_all(bytes)
}

fn checksum_of(address: u64, length: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&address.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn nothing_follows(file: &mut impl Read) -> Result<(), SnapshotError> {
    match file.take(1).read_to_end(&mut Vec::new())? {
        0 => Ok(()),
        _ => Err(SnapshotError::Trailing),
    }
}

fn number(file: &mut impl Read) -> Result<u32, SnapshotError> {
    array(file).map(u32::from_le_bytes)
}

fn long_number(file: &mut impl Read) -> Result<u64, SnapshotError> {
    array(file).map(u64::from_le_bytes)
}

fn array<const N: usize>(file: &mut impl Read) -> Result<[u8; N], SnapshotError> {
    let mut bytes = [0; N];
    fill(file, &mut bytes)?;
    Ok(bytes)
}

fn fill(file: &mut impl Read, bytes: &mut [u8]) -> Result<(), SnapshotError> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::Truncated,
        _ => error.into(),
    })
}

#[cfg(test)]
mod tests;
