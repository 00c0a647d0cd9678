//! What happened to vectors while nobody was there to be told.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use vm_msix::{RouteEvent, VectorIndex};

use crate::error::KvmError;
use crate::sys::{AtomicBool, Mutex, MutexGuard};

/// Deliveries of one vector that are told of one by one, should translations change that often between two register writes.
const MOST_TOLD: u32 = 1000;

/// What happened to vectors, in order.
pub(crate) type Events = Vec<(VectorIndex, RouteEvent<KvmError>)>;

/// Kept until the next register write. What happens to a vector is put here, and forgotten, with the vector's lock
/// held, so that an event about a route that was replaced cannot come after the replacement.
#[derive(Debug, Default)]
pub(crate) struct LateEvents {
    kept: Mutex<BTreeMap<VectorIndex, Kept>>,
    /// Set with the first event: every register write looks here, and seldom finds one.
    any: AtomicBool,
}

/// Of one vector: as much as there is to know, however often it happened.
#[derive(Debug, Default)]
struct Kept {
    delivered: u32,
    failure: Option<RouteEvent<KvmError>>,
}

impl LateEvents {
    pub(crate) fn extend(&self, events: Events) {
        if events.is_empty() {
            return;
        }
        let mut kept = self.lock();
        for (vector, event) in events {
            let kept = kept.entry(vector).or_default();
            match event {
                RouteEvent::Delivered => kept.delivered = MOST_TOLD.min(kept.delivered + 1),
                failure => kept.failure = Some(failure),
            }
        }
        // Relaxed, here and below: set and cleared under the lock. Who must see an event was ordered behind it by the
        // vector's lock, or comes too early and sees it the next time.
        self.any.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn has_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn take(&self) -> Events {
        if !self.has_any() {
            return Events::new();
        }
        let mut kept = self.lock();
        self.any.store(false, Ordering::Relaxed);
        let kept = std::mem::take(&mut *kept);
        kept.into_iter().flat_map(|(vector, kept)| kept.events(vector)).collect()
    }

    /// Forgets the failure of a vector whose route is replaced. What was delivered stays delivered.
    #[inline]
    pub(crate) fn forget(&self, vector: VectorIndex) {
        self.take_failure(vector);
    }

    /// The failure of a vector, which nobody else hears of then.
    #[inline]
    pub(crate) fn take_failure(&self, vector: VectorIndex) -> Option<KvmError> {
        if !self.has_any() {
            return None;
        }
        self.lock().get_mut(&vector)?.failure.take()?.into_error()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<VectorIndex, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn events(
        self,
        vector: VectorIndex,
    ) -> impl Iterator<Item = (VectorIndex, RouteEvent<KvmError>)> {
        let delivered = (0..self.delivered).map(|_| RouteEvent::Delivered);
        delivered.chain(self.failure).map(move |event| (vector, event))
    }
}
