//! A guest that is saved to a file, and goes on in a new process.
//!
//! What must be stopped before what is read is C14's order. The CPUs are stopped first, by whoever calls [`save`]. Then
//! the devices: their workers rest, and of their messages each is at its local APIC or pending in the state. Then the
//! router's commits, and the irqfds of pins and serial line: KVM works off what was written to them before it closes them.
//! Only then nothing is on its way any more, and local APICs and IOAPIC are read.

mod error;
mod file;
mod state;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kvm_ioctls::VcpuFd;
use vm_memory::GuestMemoryMmap;

pub(super) use error::SnapshotError;
pub(super) use file::decode;
pub(super) use state::{CpuKind, MachineState};

use super::error::BootError;
use super::machine::Machine;

/// Writes a machine, whose CPUs these are, to a file. A file of that name is replaced when all is written, and not before.
pub(super) fn save(path: &Path, machine: &Machine, cpus: &[VcpuFd]) -> Result<(), BootError> {
    let state = MachineState::save(machine, cpus)?;
    let failed = |source| BootError::NotSaved { path: path.into(), source };
    let new = beside(path);
    let written = write(&new, &state, &machine.vm.memory);
    let replaced = written.and_then(|()| Ok(fs::rename(&new, path)?));
    replaced.map_err(|error| {
        // There may be none.
        let _ = fs::remove_file(&new);
        failed(error)
    })
}

/// Whether there can be a file, before there is a guest that is lost without it. What is there stays.
pub(super) fn check(path: &Path) -> Result<(), BootError> {
    let possible = || {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let new = beside(path);
        create(&new).and_then(|_| fs::remove_file(new))
    };
    possible().map_err(|error| BootError::NotSaved { path: path.into(), source: error.into() })
}

/// A file that a guest is to go on from.
pub(super) struct Saved {
    path: PathBuf,
    file: BufReader<File>,
}

impl Saved {
    pub(super) fn open(path: &Path) -> Result<Self, BootError> {
        let opened = File::open(path).map_err(|error| refused(path, error.into()))?;
        Ok(Self { path: path.into(), file: BufReader::with_capacity(1 << 20, opened) })
    }

    /// The state, which comes first.
    pub(super) fn state(&mut self) -> Result<MachineState, BootError> {
        file::read_state(&mut self.file).map_err(|error| refused(&self.path, error))
    }

    /// Fills new memory.
    pub(super) fn fill(mut self, memory: &GuestMemoryMmap) -> Result<(), BootError> {
        file::read_memory(&mut self.file, memory).map_err(|error| refused(&self.path, error))
    }
}

/// For `map_err`, where a file is refused.
pub(super) fn refused(path: &Path, source: SnapshotError) -> BootError {
    BootError::NotRestored { path: path.into(), source }
}

fn write(path: &Path, state: &MachineState, memory: &GuestMemoryMmap) -> Result<(), SnapshotError> {
    let mut file = BufWriter::new(create(path)?);
    file::write(&mut file, state, memory)?;
    file.flush()?;
    Ok(file.get_ref().sync_all()?)
}

/// A new file, for its owner alone: all of the guest's memory is going to be in it.
fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// A name in the same folder that nobody else has.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}
