//! Sequences that were wrong once, as short as they get.

use vm_msix_kvm::model::Call;

use super::alone::WorkItems;
use super::life::live;
use super::moves::{Start, prologue};
use super::ops::{Commits, Message, Op, Setting, Step};
use super::oracle::Oracle;

fn expect_agreement(commits: Commits, steps: impl IntoIterator<Item = Step>) {
    let setting = Setting { commits, gsis: 8, vectors: [1, 1] };
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
        expect_agreement(commits, [left].into_iter().chain(rest.map(Step::from)));
    }
}
