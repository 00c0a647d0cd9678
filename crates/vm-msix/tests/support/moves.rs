//! What can be done next with a function of two vectors, and what can go wrong with it.

use super::ops::{Bytes, Fault, Kind, Op, Seen};
use super::oracle::Oracle;

const KINDS: [Kind; 3] = [Kind::Refused, Kind::Exhausted, Kind::StillOpen];

/// Where the sequences start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// After reset.
    Fresh,
    /// Both vectors programmed, open, and each with a message of its own.
    Up,
}

/// Which failures strike.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failures {
    /// Those of sending, which every host has.
    OfSends,
    /// Those of routes too.
    All,
}

fn control_word(word: u16) -> Op {
    Op::Capability(2, Bytes::new(&word.to_le_bytes()))
}

/// Everything that can be done next. A rewrite always writes something new.
pub(crate) fn alphabet(oracle: &Oracle) -> Vec<Op> {
    let mut ops = vec![
        control_word(0x8001),                                     // Enable
        Op::Capability(0, Bytes::new(&[0x11, 0x00, 0x01, 0xc0])), // Enable, Function Mask: the DWORD
        Op::Capability(3, Bytes::new(&[0x00])),                   // off: the byte
        control_word(0x4001),                                     // Function Mask alone
        Op::BusMaster(false),
        Op::BusMaster(true),
        Op::Reset,
        Op::SaveRestore,
        Op::Flush,
    ];
    for vector in 0..2 {
        let entry = &oracle.registers().table()[16 * usize::from(vector)..];
        let (address, data) = (entry[1] ^ 0x10, u32::from(entry[8] ^ 1));
        ops.extend([
            Op::dword(vector, 12, 0),
            Op::dword(vector, 12, 1),
            Op::dword(vector, 0, 0xfee0_0000 | u32::from(address) << 8),
            Op::data_and_control(vector, data, 0),
            Op::data_and_control(vector, data, 1),
            Op::Trigger(vector),
            Op::Retract(vector),
        ]);
    }
    ops
}

/// The same, with pauses, and states that are restored later than they were saved.
pub(crate) fn alphabet_of_moves(oracle: &Oracle) -> Vec<Op> {
    let mut ops = alphabet(oracle);
    ops.extend([Op::Save, Op::Restore, Op::Pause, Op::Resume]);
    ops
}

/// What brings a new function to the start.
pub(crate) fn prologue(start: Start) -> Vec<Op> {
    match start {
        Start::Fresh => vec![],
        Start::Up => vec![
            Op::dword(0, 0, 0xfee0_0000),
            Op::data_and_control(0, 0x40, 0),
            Op::dword(1, 0, 0xfee0_2000),
            Op::data_and_control(1, 0x50, 0),
            control_word(0x8001),
        ],
    }
}

/// The failures that may strike in a step which does this without them.
pub(crate) fn candidates(oracle: &Oracle, seen: &Seen, failures: Failures) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !seen.sent.is_empty() {
        faults.push(Fault::Sends(1));
    }
    if matches!(failures, Failures::OfSends) {
        return faults;
    }
    for &(vector, wish) in seen.batches.iter().flatten() {
        match wish {
            Some(_) => faults.extend(KINDS.map(|kind| Fault::Open(vector, kind))),
            None => faults.push(Fault::Close(vector)),
        }
    }
    for vector in (0..2).filter(|&vector| oracle.live(vector.into()).is_some()) {
        faults.extend(KINDS.map(|kind| Fault::Late(vector, kind)));
    }
    faults
}

/// The vector that an operation names.
pub(crate) fn vector_of(op: &Op) -> Option<u64> {
    match *op {
        Op::Table(offset, _) => Some(offset / 16),
        Op::Trigger(vector) | Op::Retract(vector) => Some(vector.into()),
        _ => None,
    }
}
