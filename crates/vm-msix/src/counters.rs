//! An observer that counts.

use core::error::Error;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::access::IllegalAccess;
use crate::backend::Signal;
use crate::observer::MsixObserver;
use crate::route::Route;
use crate::vector::VectorIndex;

/// Counts what happens to all vectors of a function together; share it as `Arc<Counters>`.
#[derive(Debug, Default)]
pub struct Counters {
    sent: AtomicU64,
    latched: AtomicU64,
    collapsed: AtomicU64,
    handed_over: AtomicU64,
    failed: AtomicU64,
    delivered: AtomicU64,
    retracted: AtomicU64,
    routes_changed: AtomicU64,
    routes_failed: AtomicU64,
    illegal_accesses: AtomicU64,
}

/// The counts at one moment. While nothing runs, they add up: every signal is in one of the first five, and
/// `latched = delivered + retracted + the Pending Bits that are set`.
///
/// Producers with a descriptor are not signals here. What they leave pending is delivered or retracted like any
/// other, and then counted, so that for their vectors the right side is the larger one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Signals sent at once.
    pub sent: u64,
    /// Signals latched.
    pub latched: u64,
    /// Signals collapsed into a latched one.
    pub collapsed: u64,
    /// Signals written to an eventfd.
    pub handed_over: u64,
    /// Signals that could not be sent.
    pub failed: u64,
    /// Latched signals sent when their vector opened.
    pub delivered: u64,
    /// Latched signals taken back.
    pub retracted: u64,
    /// Routes handed to the backend.
    pub routes_changed: u64,
    /// Routes that the backend could not give.
    pub routes_failed: u64,
    /// Accesses that the specification leaves undefined.
    pub illegal_accesses: u64,
}

impl Counters {
    /// The counts now.
    pub fn counts(&self) -> Counts {
        // Relaxed, here and below: each is a number by itself and orders nothing.
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            sent: count(&self.sent),
            latched: count(&self.latched),
            collapsed: count(&self.collapsed),
            handed_over: count(&self.handed_over),
            failed: count(&self.failed),
            delivered: count(&self.delivered),
            retracted: count(&self.retracted),
            routes_changed: count(&self.routes_changed),
            routes_failed: count(&self.routes_failed),
            illegal_accesses: count(&self.illegal_accesses),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl MsixObserver for Counters {
    fn signalled(&self, _vector: VectorIndex, signal: Signal) {
        add(match signal {
            Signal::Sent => &self.sent,
            Signal::Latched => &self.latched,
            Signal::Collapsed => &self.collapsed,
            Signal::HandedOver => &self.handed_over,
        });
    }

    fn signal_failed(&self, _vector: VectorIndex, _error: &dyn Error) {
        add(&self.failed);
    }

    fn delivered(&self, _vector: VectorIndex) {
        add(&self.delivered);
    }

    fn retracted(&self, _vector: VectorIndex) {
        add(&self.retracted);
    }

    fn route_changed(&self, _vector: VectorIndex, _route: Route) {
        add(&self.routes_changed);
    }

    fn route_failed(&self, _vector: VectorIndex, _error: &dyn Error) {
        add(&self.routes_failed);
    }

    fn illegal_access(&self, _access: IllegalAccess) {
        add(&self.illegal_accesses);
    }
}
