//! What can happen to a configuration space, as data.

use serde::{Deserialize, Serialize};
use vm_pci_config::{Bar, CapabilityId, PlainCapability, Prefetchable};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Op {
    AddBar(BarSpec),
    AddCapability(CapabilitySpec),
    Read(u16, u8),
    Write(u16, Vec<u8>),
    /// Selects by the address port, writes these bytes at a port, and reads as many.
    Ports(u32, u16, Vec<u8>),
    /// Writes at an offset of the ECAM window, and reads as many bytes.
    Ecam(u64, Vec<u8>),
    /// Writes ones to a BAR, as a guest does that wants to know its size.
    Size(u8),
    /// Places a BAR by its DWORDs.
    Place(u8, u64),
    Decode(u64, u8),
    /// A device changes a register of a live capability of its own.
    Device {
        device: u8,
        register: u8,
        data: u32,
        mask: u32,
    },
    Reset,
    Save,
    /// Restores what was saved last.
    Restore,
    /// Restores what is, but for some bits.
    Forge {
        register: u8,
        bits: u32,
        pci_id: u32,
    },
    Error,
    Interrupt(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Io,
    Memory32,
    Prefetchable32,
    Memory64,
    Prefetchable64,
}

/// A BAR of 2 to the power of `log2` bytes and `more`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct BarSpec {
    pub(crate) index: u8,
    pub(crate) kind: Kind,
    pub(crate) log2: u8,
    pub(crate) more: u8,
    pub(crate) address: u64,
}

/// A capability, plain or with so many live registers behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CapabilitySpec {
    pub(crate) id: u8,
    pub(crate) body: Vec<u8>,
    pub(crate) writable: Vec<u32>,
    pub(crate) live: Option<u8>,
}

impl BarSpec {
    pub(crate) fn size(&self) -> u64 {
        (1 << (self.log2 % 64)) + u64::from(self.more)
    }

    pub(crate) fn bar(&self) -> Bar {
        let size = self.size();
        let bar = match self.kind {
            Kind::Io => Bar::io(size),
            Kind::Memory32 => Bar::memory32(size, Prefetchable::No),
            Kind::Prefetchable32 => Bar::memory32(size, Prefetchable::Yes),
            Kind::Memory64 => Bar::memory64(size, Prefetchable::No),
            Kind::Prefetchable64 => Bar::memory64(size, Prefetchable::Yes),
        };
        bar.at(self.address)
    }
}

impl CapabilitySpec {
    pub(crate) fn capability(&self) -> PlainCapability {
        PlainCapability::new(CapabilityId(self.id), &self.body).writable(&self.writable)
    }
}

/// What the bytes at the front say; a byte that says nothing is passed over.
pub(super) fn next(data: &mut &[u8]) -> Option<Op> {
    while !data.is_empty() {
        match postcard::take_from_bytes(data) {
            Ok((op, rest)) => {
                *data = rest;
                return Some(op);
            }
            Err(_) => *data = &data[1..],
        }
    }
    None
}

/// The same the other way, for a list.
#[allow(dead_code, reason = "a fuzzer writes no seeds")]
pub(crate) fn of_ops(ops: &[Op]) -> Vec<u8> {
    ops.iter().flat_map(|op| postcard::to_stdvec(op).unwrap()).collect()
}
