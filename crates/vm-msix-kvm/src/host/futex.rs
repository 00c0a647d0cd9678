//! How a close waits on Linux: a few looks, then asleep on a futex.

use std::sync::atomic::AtomicU32;

use vm_msix::Relax;

/// Looks at the latch for about as long as one send takes, then sleeps until the last trigger in flight
/// wakes it: a vCPU that masks never spins on a sender that was preempted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Futex;

/// Half a microsecond or so of looking: a send in flight is a system call about that long.
const SPINS: u32 = 100;

impl Relax for Futex {
    fn spins(&self) -> u32 {
        SPINS
    }

    fn park(&self, word: &AtomicU32, value: u32) {
        atomic_wait::wait(word, value);
    }

    fn unpark(&self, word: &AtomicU32) {
        atomic_wait::wake_all(word);
    }
}
