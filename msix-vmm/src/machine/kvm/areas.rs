//! The guest's memory, by what is in it.

use std::sync::atomic::Ordering;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use vm_memory::{
    AtomicAccess, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};

use super::layout::*;
use crate::machine::enumeration::{RawBar, RawEnumeration};
use crate::machine::{MAX_ENTRIES, MachineError};

/// Typed access to the areas of [`layout`](super::layout), for any thread.
#[derive(Clone, Debug)]
pub(super) struct Areas {
    memory: GuestMemoryMmap,
}

/// The bytes of a page.
const PAGE_BYTES: usize = 4096;

/// A page of memory that was saved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Page {
    address: u64,
    bytes: ByteBuf,
}

/// Why an access to guest memory by the constants of the layout cannot fail.
const INSIDE: &str = "the layout lies inside the guest's memory";

impl Areas {
    /// Allocates the guest's memory.
    pub(super) fn new() -> Result<Self, MachineError> {
        let range = (GuestAddress(0), MEMORY_BYTES as usize);
        let memory = GuestMemoryMmap::from_ranges(&[range]).map_err(|source| {
            MachineError::Host { what: "guest memory", source: Box::new(source) }
        })?;
        Ok(Self { memory })
    }

    /// Gives the memory to a VM, which must not run once the last clone of `self` is gone.
    pub(super) fn map(&self, vm: &VmFd) -> Result<(), MachineError> {
        for (slot, region) in self.memory.iter().enumerate() {
            let region = kvm_userspace_memory_region {
                slot: slot as u32,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
                flags: 0,
            };
            // SAFETY: the range is one mapping of ours, and it stays mapped while vCPUs run:
            // every vCPU thread, the only ones that run them, holds a clone of `self`.
            unsafe { vm.set_user_memory_region(region) }.map_err(|source| MachineError::Kvm {
                call: "KVM_SET_USER_MEMORY_REGION",
                source,
            })?;
        }
        Ok(())
    }

    /// The pages that are not all zero, while no CPU runs.
    pub(super) fn save(&self) -> Vec<Page> {
        let page = |address| {
            let mut bytes = vec![0; PAGE_BYTES];
            self.read(address, &mut bytes);
            let used = bytes.iter().any(|byte| *byte != 0);
            used.then(|| Page { address, bytes: ByteBuf::from(bytes) })
        };
        (0..MEMORY_BYTES).step_by(PAGE_BYTES).filter_map(page).collect()
    }

    /// Fills new memory with pages that were saved.
    pub(super) fn restore(&self, pages: &[Page]) -> Result<(), MachineError> {
        pages.iter().try_for_each(|Page { address, bytes }| {
            let written = self.memory.write_slice(bytes, GuestAddress(*address));
            written.map_err(|_| MachineError::BadPage { address: *address, bytes: bytes.len() })
        })
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(address)).expect(INSIDE);
    }

    pub(super) fn read(&self, address: u64, bytes: &mut [u8]) {
        self.memory.read_slice(bytes, GuestAddress(address)).expect(INSIDE);
    }

    /// Stores so that a CPU which sees the value sees everything written before.
    pub(super) fn store<T: AtomicAccess>(&self, address: u64, value: T) {
        self.memory.store(value, GuestAddress(address), Ordering::Release).expect(INSIDE);
    }

    /// Loads so that everything written before the value was is seen too.
    pub(super) fn load<T: AtomicAccess>(&self, address: u64) -> T {
        self.memory.load(GuestAddress(address), Ordering::Acquire).expect(INSIDE)
    }

    /// Reads an address that the guest made up: it may be anywhere.
    pub(super) fn load_anywhere(&self, address: u64) -> Option<u64> {
        self.memory.read_obj(GuestAddress(address)).ok()
    }

    pub(super) fn set_wave(&self, first_entry: u16) {
        self.store(SHARED + SHARED_WAVE, u32::from(first_entry));
    }

    pub(super) fn set_sequence(&self, entry: u16, sequence: u64) {
        self.store(SHARED + SHARED_SEQUENCES + qword(entry), sequence);
    }

    pub(super) fn runs(&self, cpu: usize, entry: u16) -> u32 {
        self.load(cpu_area(cpu) + CPU_RUNS + qword(entry) / 2)
    }

    pub(super) fn last_seen(&self, cpu: usize, entry: u16) -> u64 {
        self.load(cpu_area(cpu) + CPU_LAST_SEEN + qword(entry))
    }

    /// Zeroes sequence numbers and, of each CPU, runs and last-seen numbers.
    pub(super) fn reset(&self, cpus: usize) {
        let zeroes = vec![0; usize::from(MAX_ENTRIES) * 8];
        self.write(SHARED + SHARED_SEQUENCES, &zeroes);
        for cpu in 0..cpus {
            self.write(cpu_area(cpu) + CPU_RUNS, &zeroes[..zeroes.len() / 2]);
            self.write(cpu_area(cpu) + CPU_LAST_SEEN, &zeroes);
        }
    }

    /// What an enumeration on `cpu` left.
    pub(super) fn enumeration(&self, cpu: usize) -> RawEnumeration {
        let reply = cpu_area(cpu) + CPU_REPLY;
        let register = |index: u64| self.load(reply + REPLY_REGISTERS + 4 * index);
        let bar = |index: u64| {
            let bar = reply + REPLY_BARS + REPLY_BAR_BYTES * index;
            RawBar { register: self.load(bar), size: self.load(bar + 8), base: self.load(bar + 16) }
        };
        RawEnumeration {
            slot: self.load(reply + REPLY_SLOT),
            capability: self.load(reply + REPLY_CAPABILITY),
            registers: [0, 1, 2].map(register),
            bars: [0, 1, 2, 3, 4, 5].map(bar),
        }
    }
}

/// The offset of an entry's QWORD in an array of them.
fn qword(entry: u16) -> u64 {
    assert!(entry < MAX_ENTRIES, "there is no table entry {entry}");
    u64::from(entry) * 8
}
