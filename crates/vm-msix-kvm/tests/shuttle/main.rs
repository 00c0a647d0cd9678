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
//! - `SHUTTLE_SCHEDULES=n` tries n schedules by each scheduler; `-- --show-output` says how many were tried.
//! - `SHUTTLE_RANDOM_SEED=n` tries others.
//! - A failure prints its schedule. `SHUTTLE_REPLAY=schedule` with the test's name runs that one alone.
//!
//! Shuttle takes every access of an atomic for sequentially consistent. That is enough here: nothing in the crate orders memory by
//! an atomic but the core's latch, which loom checks.
//!
//! Which mutants of the crate a scenario must kill is written at it, after "Kills:"; `ci/committer-mutants` makes them.
#![cfg(vm_msix_shuttle)]

mod actors;
mod alike;
mod batches;
mod closing;
mod explore;
mod failing;
mod function;
mod looking;
mod modes;
mod opening;
mod oracle;
mod polling;
mod saving;
mod table;
mod the_end;
mod world;
