//! Sessions come and go: what the VMM has afterwards does not depend on how many there were.
//!
//! A program of its own, because all that the process has allocated is counted.

#[path = "../../../fuzz/replay.rs"]
mod replay;
mod support;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use vm_msix_tube::Server;

use replay::inputs;
use support::fuzz::session;
use support::{fds, threads};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What the process has.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    blocks: usize,
    bytes: usize,
    descriptors: usize,
}

impl Held {
    fn now() -> Self {
        let heap = HEAP.stats();
        Self {
            blocks: heap.allocations - heap.deallocations,
            bytes: heap.bytes_allocated - heap.bytes_deallocated,
            descriptors: fds::count(),
        }
    }

    /// After so many sessions, when the server has ended, and every thread that it had.
    fn after(sessions: usize, inputs: &[Vec<u8>]) -> Self {
        let server = Server::spawn().unwrap();
        inputs.iter().cycle().take(sessions).for_each(|input| session(&server, input));
        drop(server);
        threads::expect(0);
        Self::now()
    }
}

/// Whole sessions, and each of them broken off after every byte.
fn every_beginning() -> Vec<Vec<u8>> {
    let whole = inputs("tube_session").into_iter().map(|(_, input)| input);
    whole.flat_map(|input| (0..=input.len()).map(move |end| input[..end].to_vec())).collect()
}

#[test]
fn c10_a_session_leaves_no_block_no_descriptor_and_no_thread_behind() {
    let inputs = every_beginning();
    // What is made once, and kept.
    Held::after(100, &inputs);
    let after_many = Held::after(5_000, &inputs);
    assert_eq!(Held::after(10_000, &inputs), after_many);
    assert_eq!(Held::after(1, &inputs), after_many);
}
