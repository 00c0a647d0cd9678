//! A clock that a schedule decides about: it goes on by a tick whenever somebody looks.

use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

shuttle::lazy_static! {
    static ref TICKS: AtomicU64 = AtomicU64::new(0);
}

/// How long a tick is, for those who reckon with time.
const TICK: Duration = Duration::from_micros(1);

/// A moment of this schedule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        // Relaxed: a number that orders nothing.
        let ticks = TICKS.fetch_add(1, Ordering::Relaxed);
        Self(TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)))
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0 + later)
    }
}
