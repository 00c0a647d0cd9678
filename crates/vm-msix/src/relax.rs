//! How a close waits for triggers in flight (C4): the one thing about the latch that needs a host.

use crate::atomic::AtomicU32;

/// A waiting strategy.
///
/// Triggers are in flight for the length of one send, well under a microsecond, so a few looks
/// usually do; but the thread that sends can be preempted, and then the closing thread, which is
/// often a vCPU, must sleep rather than spin.
pub trait Relax: Send + Sync {
    /// How many times the latch looks again before it parks.
    fn spins(&self) -> u32;

    /// Sleeps while `word` holds `value`. May return for no reason; may not sleep past an
    /// [`unpark`](Self::unpark) that follows a change of `word`.
    fn park(&self, word: &AtomicU32, value: u32);

    /// Wakes whoever is parked on `word`.
    fn unpark(&self, word: &AtomicU32);
}

/// Spins. For places without an operating system; with one, take [`Yield`](crate::Yield), or park on a futex as
/// vm-msix-kvm does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spin;

impl Relax for Spin {
    fn spins(&self) -> u32 {
        0
    }

    fn park(&self, _word: &AtomicU32, _value: u32) {
        #[cfg(not(vm_msix_loom))]
        core::hint::spin_loop();
        #[cfg(vm_msix_loom)]
        loom::thread::yield_now();
    }

    fn unpark(&self, _word: &AtomicU32) {}
}

/// Looks a few times, then lets other threads run between looks. For hosts with `std` and no better means.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Yield;

#[cfg(feature = "std")]
impl Relax for Yield {
    fn spins(&self) -> u32 {
        100
    }

    fn park(&self, _word: &AtomicU32, _value: u32) {
        std::thread::yield_now();
    }

    fn unpark(&self, _word: &AtomicU32) {}
}

impl<R: Relax + ?Sized> Relax for &R {
    fn spins(&self) -> u32 {
        (**self).spins()
    }

    fn park(&self, word: &AtomicU32, value: u32) {
        (**self).park(word, value);
    }

    fn unpark(&self, word: &AtomicU32) {
        (**self).unpark(word);
    }
}
