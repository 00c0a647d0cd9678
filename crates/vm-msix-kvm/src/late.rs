//! What happened to vectors while nobody was there to be told.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use vm_msix::{RouteEvent, VectorIndex};

use crate::error::KvmError;
use crate::sys::{AtomicBool, Mutex, MutexGuard};

/// What happened to vectors, in order.
pub(crate) type Events = Vec<(VectorIndex, RouteEvent<KvmError>)>;

/// Kept until the next register write. What happens to a vector is put here, and taken from here, with the vector's lock
/// held, so that an event about a route that was replaced cannot come after the replacement.
#[derive(Debug, Default)]
pub(crate) struct LateEvents {
    events: Mutex<Events>,
    /// Set with the first event: every register write looks here, and seldom finds one.
    any: AtomicBool,
}

impl LateEvents {
    pub(crate) fn extend(&self, events: Events) {
        if events.is_empty() {
            return;
        }
        let mut kept = self.lock();
        kept.extend(events);
        // Relaxed, and below: set and cleared under the lock. Who must see an event was ordered behind it by the
        // vector's lock, or comes too early and sees it the next time.
        self.any.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn take(&self) -> Events {
        if !self.any.load(Ordering::Relaxed) {
            return Events::new();
        }
        let mut kept = self.lock();
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *kept)
    }

    /// Forgets the failures of a vector whose route is replaced. What was delivered stays delivered.
    #[inline]
    pub(crate) fn forget(&self, vector: VectorIndex) {
        while self.take_failure(vector).is_some() {}
    }

    /// The next failure of a vector.
    #[inline]
    pub(crate) fn take_failure(&self, vector: VectorIndex) -> Option<KvmError> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut kept = self.lock();
        let is_its_failure = |(of, event): &(VectorIndex, RouteEvent<KvmError>)| {
            *of == vector && !matches!(event, RouteEvent::Delivered)
        };
        let place = kept.iter().position(is_its_failure)?;
        kept.remove(place).1.into_error()
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
