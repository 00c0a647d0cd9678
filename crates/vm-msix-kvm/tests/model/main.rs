//! Two functions on one KVM, and everything that can happen to them: each sequence to a depth, and long lives at random.
//!
//! ```sh
//! RUSTFLAGS="--cfg vm_msix_shuttle" CARGO_TARGET_DIR=target/shuttle cargo test -p vm-msix-kvm --release --test model
//! ```
//!
//! The code is the crate's own; KVM is a [model](vm_msix_kvm::model), and panics where the order of ioctls is broken. After each
//! step all that anybody can see is compared with an [oracle](oracle) that was written from the contract. One thread
//! does it all: `tests/shuttle` searches schedules. `VM_MSIX_DEPTH=1` makes each sequence longer by one.
#![cfg(vm_msix_shuttle)]

mod alone;
mod found;
mod life;
mod moves;
mod ops;
mod oracle;
mod random;
mod rig;
mod search;
#[path = "../../../vm-msix/tests/support/shrink.rs"]
mod shrink;

use self::alone::WorkItems;
use self::moves::Start;
use self::ops::{Commits, Setting};
use self::search::Search;

/// GSIs enough for all.
const MANY: u32 = 8;

fn search(commits: Commits, gsis: u32, start: Start) -> Search {
    Search {
        setting: Setting { commits, gsis, vectors: [1, 1] },
        start,
        work_items: WorkItems::AtOnce,
        depth: 3 + deeper(),
        budget: 1,
    }
}

fn deeper() -> usize {
    std::env::var("VM_MSIX_DEPTH").map_or(0, |depth| depth.parse().expect("a number of steps"))
}

#[test]
fn every_sequence_from_open_vectors() {
    search(Commits::Loop, MANY, Start::Up).run();
    search(Commits::AtOnce, MANY, Start::Up).run();
}

#[test]
fn every_sequence_from_open_vectors_on_descriptors() {
    search(Commits::Loop, MANY, Start::Outside).run();
    search(Commits::AtOnce, MANY, Start::Outside).run();
}

#[test]
fn every_sequence_from_masked_vectors_where_signals_wait() {
    search(Commits::Loop, MANY, Start::Waiting).run();
    search(Commits::AtOnce, MANY, Start::Waiting).run();
}

#[test]
fn every_sequence_where_two_functions_want_the_last_gsi() {
    search(Commits::Loop, 1, Start::Outside).run();
    search(Commits::AtOnce, 1, Start::Up).run();
}

#[test]
fn every_sequence_of_a_function_with_two_vectors_beside_another() {
    for start in [Start::Up, Start::Outside] {
        let search = search(Commits::Loop, MANY, start);
        let setting = Setting { vectors: [2, 1], ..search.setting };
        Search { setting, work_items: WorkItems::Late, depth: 2 + deeper(), budget: 2, ..search }
            .run();
    }
}
