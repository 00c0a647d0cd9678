//! The latch under every interleaving and every reordering that loom knows.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p vm-msix --release --test loom
//! ```
//!
//! A test is named after the clauses of the contract that it defends (DESIGN.md). Its comment lists the mutants of the
//! latch that it must kill: `ci/latch-mutants` makes them, one at a time, and fails if one lives.
//!
//! Two rules keep these models honest. The send has no lock of loom's in it: a lock would order what
//! the latch has to order. And plain data shared with a send is a [`Witness`](bench::Witness): loom lets
//! an atomic load return what was stored before, never what will be, so that only a race on a
//! plain cell shows a send that slips past the close that should have waited for it.
#![cfg(loom)]

mod bench;
mod keeping;
mod registers;
mod sending;
mod waiting;
