//! Sequences that were wrong once, as short as they get.

use vm_msix_kvm::model::Call;

use super::alone::WorkItems;
use super::life::live;
use super::moves::{OPEN, Start, prologue};
use super::ops::{Commits, Message, Op, Setting, Step};
use super::oracle::Oracle;

fn expect_agreement(commits: Commits, vectors: [u16; 2], steps: impl IntoIterator<Item = Step>) {
    let setting = Setting { commits, gsis: 8, vectors };
    let start = prologue(Start::Outside, &Oracle::new(setting));
    let steps: Vec<_> = start.into_iter().map(Step::from).chain(steps).collect();
    let difference = live(setting, WorkItems::AtOnce, &steps);
    assert!(difference.is_none(), "{commits:?}: {difference:?}");
}

/// KVM did not let go of an eventfd when its holder went. That is no failure of the one that is brought next.
#[test]
fn c11_an_eventfd_is_brought_where_kvm_kept_another() {
    let place = (0, 0);
    let kept = (Call::Deassign, Message { place, programming: false });
    for commits in [Commits::Loop, Commits::AtOnce] {
        let left = Step { op: Op::Demote(place), faults: vec![kept] };
        let rest = [Op::Adopt(place), Op::Write(place), Op::Flush(0), Op::Mask(place)];
        expect_agreement(commits, [1, 1], [left].into_iter().chain(rest.map(Step::from)));
    }
}

/// KVM did not let go of an eventfd when its holder went, and did when it was to change its vector: nobody has it any more.
#[test]
fn c7_an_eventfd_that_kvm_had_kept_gives_its_gsi_back_when_a_swap_takes_it_off() {
    let place = (0, 0);
    let kept = (Call::Deassign, Message { place, programming: false });
    for commits in [Commits::Loop, Commits::AtOnce] {
        let left = Step { op: Op::Demote(place), faults: vec![kept] };
        expect_agreement(commits, [2, 1], [left, Op::Swap(0).into(), Op::Control(0, OPEN).into()]);
    }
}
