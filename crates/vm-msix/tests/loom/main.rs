//! The latch under every interleaving and every reordering that loom knows.
//!
//! ```sh
//! RUSTFLAGS="--cfg vm_msix_loom" cargo test -p vm-msix --release --test loom
//! ```
//!
//! A test is named after the clauses of the contract that it defends (DESIGN.md). Its comment lists the mutants of the
//! latch that it must kill: `ci/latch-mutants` makes them, one at a time, and fails if one lives.
//!
//! Three rules keep these models honest:
//!
//! - The send takes no lock of loom's, which would order what the latch has to order.
//! - What a send shares with control is a plain cell, the [`Witness`](bench::Witness). loom lets an atomic
//!   load return what was stored before, never what will be: only a race on a plain cell shows a
//!   send that slips past the close that should have waited for it.
//! - A thread that only looks at the word is spawned, and the one that signals goes first. loom compares an
//!   access with the last one only: it misses that a look races with an exchange when the load that begins every
//!   signal lies between them.
#![cfg(vm_msix_loom)]

mod bench;
mod hints;
mod keeping;
mod registers;
mod sending;
mod waiting;
