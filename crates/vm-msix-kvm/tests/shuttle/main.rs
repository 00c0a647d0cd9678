//! The control path, the committer, the poller and producers, under as many schedules as time allows.
//!
//! ```sh
//! RUSTFLAGS="--cfg vm_msix_shuttle" CARGO_TARGET_DIR=target/shuttle cargo test -p vm-msix-kvm --release --test shuttle
//! ```
//!
//! The code is the crate's own; KVM is a [model](vm_msix_kvm::model). Every scenario is run under many schedules, by two
//! schedulers. A deadlock fails it, and so does whatever the [oracle](oracle), the [routing table](table) or the model of KVM
//! finds wrong.
//!
//! - `SHUTTLE_SCHEDULES=n` tries n schedules by each scheduler.
//! - `SHUTTLE_RANDOM_SEED=n` tries others.
//! - A failure prints its schedule. `SHUTTLE_REPLAY=schedule` with the test's name runs that one alone.
//!
//! Which mutants of the crate a scenario must kill is written at it, after "Kills:"; `ci/committer-mutants` makes them.
#![cfg(vm_msix_shuttle)]

mod batches;
mod closing;
mod explore;
mod failing;
mod function;
mod modes;
mod opening;
mod oracle;
mod polling;
mod table;
mod the_end;
mod world;
