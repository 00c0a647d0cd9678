//! The fuzzers' corpus, replayed; and the seeds that it grew from.
//!
//! `VM_MSIX_WRITE_SEEDS=1` writes the seeds, after a change of the operations.

#[path = "../../../fuzz/replay.rs"]
mod replay;
mod support;

use replay::{expect_seed, replay};
use support::fuzz::{self, Case, Setup, Step, of_values};
use support::ops::{Bytes, Fault, Kind, Op};

#[test]
fn what_functions_have_gone_through() {
    replay("registers", fuzz::registers);
}

#[test]
fn where_tables_have_lain() {
    replay("layout", fuzz::layout);
}

fn control(high: u8) -> Op {
    Op::Capability(3, Bytes::new(&[high]))
}

/// What a driver does, and signals that are sent, latched, collapsed and retracted.
fn driver() -> Vec<Step> {
    let ops = [
        Op::Capability(0, Bytes::new(&[0x11, 0, 0, 0xc0])),
        Op::dword(0, 0, 0xfee0_0000),
        Op::dword(0, 4, 0),
        Op::data_and_control(0, 0x41, 0),
        Op::data_and_control(1, 0x42, 0),
        control(0x80),
        Op::Trigger(0),
        Op::dword(1, 12, 1),
        Op::Trigger(1),
        Op::Trigger(1),
        Op::Pba(0, Bytes::new(&[0; 8])),
        Op::Retract(1),
        Op::Trigger(1),
        Op::dword(1, 12, 0),
        Op::BusMaster(false),
        Op::Trigger(0),
        Op::BusMaster(true),
        Op::Capability(2, Bytes::new(&[0, 0x40])),
        Op::Reset,
    ];
    let reads = [Step::ReadTable(0, 8), Step::ReadTable(6, 4), Step::ReadPba(0, 8)];
    ops.map(Step::Run).into_iter().chain(reads).collect()
}

/// A VMM that saves, restores and pauses.
fn vmm() -> Vec<Step> {
    let ops = [
        Op::data_and_control(0, 0x41, 0),
        control(0x80),
        Op::Pause,
        Op::Trigger(0),
        Op::Trigger(1),
        Op::Save,
        Op::Resume,
        Op::SaveRestore,
        Op::Reset,
        Op::Restore,
        Op::Flush,
    ];
    ops.map(Step::Run).to_vec()
}

/// A host that fails in every way.
fn host() -> Vec<Step> {
    let ops = [Op::data_and_control(0, 0x41, 0), Op::data_and_control(1, 0x42, 0), control(0x80)];
    let failing = [
        Step::Fail(Fault::Late(0, Kind::Exhausted)),
        Step::Fail(Fault::Close(1)),
        Step::Run(Op::dword(1, 12, 1)),
        Step::Run(Op::Trigger(0)),
        Step::Fail(Fault::Open(0, Kind::Refused)),
        Step::Run(control(0x80)),
        Step::Fail(Fault::Open(0, Kind::StillOpen)),
        Step::Run(Op::dword(0, 8, 0x43)),
        Step::Fail(Fault::Sends(1)),
        Step::Run(Op::Trigger(1)),
        Step::Run(Op::Flush),
    ];
    ops.map(Step::Run).into_iter().chain(failing).collect()
}

fn life(setup: Setup, steps: &[Step]) -> Vec<u8> {
    [of_values(&[setup]), of_values(steps)].concat()
}

/// Legal, and wrong in each way; at both ends of the BARs.
fn layouts() -> Vec<u8> {
    let case = |vectors, table, pba, offset| Case { vectors, table, pba, offset };
    of_values(&[
        case(1, (0, 0), (0, 16), 8),
        case(2048, (4, 0x1000), (4, 0x9000), 0x90ff),
        case(65, (5, 0xffff_f000), (2, 0xffff_fff0), 1 << 32),
        case(65, (5, 0xffff_f000), (2, 0xffff_fff8), 1 << 32),
        case(0, (0, 0), (0, 16), 0),
        case(2049, (0, 0), (1, 0), 0),
        case(3, (6, 0), (0, 48), 0),
        case(3, (0, 4), (0, 48), 0),
        case(3, (0, 0), (0, 40), 0),
        case(3, (0, 0xffff_ffd8), (0, 0), u64::MAX),
    ])
}

#[test]
fn seeds_are_of_these_operations() {
    let seeds = [
        ("registers", "seed-driver", life(Setup::Mock(2), &driver())),
        ("registers", "seed-driver-signal", life(Setup::Signal(64), &driver())),
        ("registers", "seed-driver-2048", life(Setup::Mock(2048), &driver())),
        ("registers", "seed-vmm", life(Setup::Signal(2), &vmm())),
        ("registers", "seed-host", life(Setup::Mock(2), &host())),
        ("layout", "seed-layouts", layouts()),
    ];
    for (target, name, seed) in seeds {
        expect_seed(target, name, &seed);
    }
}
