//! The fuzzer's corpus, replayed; and the seeds that it grew from.
//!
//! `VM_MSIX_WRITE_SEEDS=1` writes the seeds, after a change of the operations.

mod fuzz;
#[path = "../../../fuzz/replay.rs"]
mod replay;

use fuzz::{BarSpec, CapabilitySpec, Kind, Op, of_ops};
use replay::{expect_seed, replay};

#[test]
fn what_configuration_spaces_have_gone_through() {
    replay("config_space", fuzz::config_space);
}

fn bar(index: u8, kind: Kind, log2: u8, address: u64) -> Op {
    Op::AddBar(BarSpec { index, kind, log2, more: 0, address })
}

fn capability(id: u8, body: &[u8], writable: &[u32], live: Option<u8>) -> Op {
    let (body, writable) = (body.to_vec(), writable.to_vec());
    Op::AddCapability(CapabilitySpec { id, body, writable, live })
}

/// A function with BARs of every kind, which a guest sizes, places and enables.
fn guest() -> Vec<Op> {
    vec![
        bar(0, Kind::Memory64, 14, 0),
        bar(2, Kind::Prefetchable32, 12, 0xfebf_0000),
        bar(3, Kind::Io, 5, 0xc020),
        bar(4, Kind::Prefetchable64, 33, 0),
        capability(1, &[3, 0, 0, 0, 0, 0], &[0, 0x0103], None),
        capability(0x11, &[63, 0, 0, 0, 0, 0, 0, 0x10, 0, 0], &[0, 0xffff_0000], Some(3)),
        Op::Size(0),
        Op::Place(0, 0x1_0000_0000),
        Op::Size(2),
        Op::Size(3),
        Op::Size(4),
        Op::Write(4, vec![7, 4]),
        Op::Decode(0x1_0000_3ffc, 4),
        Op::Ports(0x8000_0048, 14, vec![0, 0x80]),
        Op::Ecam(0x44, vec![3]),
        Op::Ecam(0x20_8004, vec![3]),
        Op::Read(0x3e, 4),
    ]
}

/// A VMM that saves and restores, and a device that changes what is its own.
fn vmm() -> Vec<Op> {
    vec![
        bar(0, Kind::Memory32, 12, 0),
        bar(5, Kind::Memory64, 12, 0),
        bar(1, Kind::Io, 3, 2),
        capability(9, &[4, 0], &[0xffff_0000], Some(1)),
        capability(9, &[4, 0], &[1], None),
        Op::Device { device: 0, register: 0, data: 0x1234_5678, mask: 0xffff_ffff },
        Op::Write(4, vec![2]),
        Op::Save,
        Op::Place(0, 0xe000_0000),
        Op::Error,
        Op::Interrupt(true),
        Op::Write(7, vec![0x20]),
        Op::Restore,
        Op::Forge { register: 1, bits: 5, pci_id: 0 },
        Op::Forge { register: 0, bits: 5, pci_id: 0 },
        Op::Forge { register: 1, bits: 0, pci_id: 1 },
        Op::Reset,
    ]
}

#[test]
fn seeds_are_of_these_operations() {
    for (name, ops) in [("seed-guest", guest()), ("seed-vmm", vmm())] {
        expect_seed("config_space", name, &of_ops(&ops));
    }
}
