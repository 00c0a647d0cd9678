//! The search, on a model that is broken in known ways.

use vm_msix::{MsixCap, MsixLayout};

use super::allowed::Allowed;
use super::board::Board;
use super::compare::Comparison;
use super::devices::Signals;
use super::fake::{Fake, Fault};
use super::generate;
use super::ours::Ours;
use super::search::{Found, search};

const VECTORS: u16 = 67;
const OPERATIONS: u64 = 10_000;

fn found(fault: Fault) -> Found {
    let layout = MsixLayout::propose(VECTORS, 1).unwrap();
    let board = Board::new(VECTORS, Some(0xc100_000c));
    let mut theirs = Fake::new(*MsixCap::of(layout).bytes(), board.clone(), fault);
    let mut ours = Ours::new(layout).unwrap();
    let sequences = generate::sequences(VECTORS, &board, Signals::Ivshmem);
    search(Comparison::new(&mut ours, &mut theirs, &board), &sequences, OPERATIONS, 1).unwrap()
}

#[test]
fn a_sound_model_differs_only_as_allowed_and_in_every_allowed_way() {
    let found = found(Fault::None);
    assert!(found.difference.is_none(), "{:?}", found.difference);
    assert!(found.operations >= OPERATIONS);
    assert!(found.messages > 200, "{} messages", found.messages);
    for allowed in Allowed::ALL {
        assert!(found.met.count(allowed) > 10, "{allowed}: {}", found.met.count(allowed));
    }
}

#[test]
fn what_is_broken_is_found_and_shown_by_a_short_sequence() {
    for (fault, longest) in [
        (Fault::TableTakesWords, 2),
        (Fault::UnmaskSendsTwice, 5),
        (Fault::PendingStays, 4),
        (Fault::FunctionUnmaskForgets, 5),
        (Fault::OldMessage, 5),
        (Fault::DisableForgets, 3),
        (Fault::PbaTakesWrites, 1),
        (Fault::ReservedControlBit, 1),
        (Fault::ResetLeavesUnmasked, 1),
    ] {
        let found = found(fault);
        let minimal = found.difference.unwrap_or_else(|| panic!("{fault:?} was not found"));
        assert!(minimal.ops.len() <= longest, "{fault:?}: {minimal:#?}");
    }
}

#[test]
fn a_seed_is_a_sequence() {
    let [first, again] = [found(Fault::PendingStays), found(Fault::PendingStays)];
    assert_eq!(first.operations, again.operations);
    assert_eq!(first.difference.unwrap().ops, again.difference.unwrap().ops);
}
