//! What is measured on a journey.

use std::time::Duration;

use serde::Serialize;

use super::messages::Departure;
use crate::report;

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    /// How often the VM has moved.
    pub(super) migrations: usize,
    /// How long it stood still.
    pub(super) milliseconds_median: f64,
    /// How long it stood still at most.
    pub(super) milliseconds_max: f64,
    /// Bytes of state.
    pub(super) bytes_median: usize,
    /// Bytes of state at most.
    pub(super) bytes_max: usize,
    /// Vectors that travelled masked and pending, all migrations together.
    pub(super) masked_and_pending: usize,
    /// The fewest of one migration.
    pub(super) masked_and_pending_min: usize,
    /// Interrupts that travelled in local APICs.
    pub(super) in_apics: u32,
    /// CPUs that were stopped between two instructions, and not halted.
    pub(super) cpus_at_work: usize,
    /// Migrations in the middle of a driver's accesses.
    pub(super) while_driving: usize,
    /// Signals of vectors in a storm.
    pub(super) signals_in_storm: u64,
    /// Signals of vectors under handshake: as many handler runs.
    pub(super) signals_under_handshake: u64,
}

impl Figures {
    pub(super) fn new(
        times: &[Duration],
        sizes: &[usize],
        departures: &[Departure],
        (signals_in_storm, signals_under_handshake): (u64, u64),
    ) -> Self {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let pending = || departures.iter().map(|departure| departure.pending);
        Self {
            migrations: times.len(),
            milliseconds_median: milliseconds(median(times)),
            milliseconds_max: milliseconds(times.iter().max().copied().unwrap_or_default()),
            bytes_median: median(sizes),
            bytes_max: sizes.iter().max().copied().unwrap_or_default(),
            masked_and_pending: pending().sum(),
            masked_and_pending_min: pending().min().unwrap_or_default(),
            in_apics: departures.iter().map(|departure| departure.in_apics).sum(),
            cpus_at_work: departures.iter().map(|departure| departure.at_work).sum(),
            while_driving: departures.iter().filter(|departure| departure.driving > 0).count(),
            signals_in_storm,
            signals_under_handshake,
        }
    }
}

fn median<T: Copy + Default + Ord>(values: &[T]) -> T {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl report::Figures for Figures {
    fn extent(&self) -> String {
        format!("{} migrations", self.migrations)
    }

    fn lines(&self, passed: bool) -> Vec<String> {
        let Self { masked_and_pending, masked_and_pending_min, .. } = self;
        let handled = if passed { "as many handler runs" } else { "see above" };
        vec![
            format!(
                "at a standstill for {:.1} ms, {:.1} at most",
                self.milliseconds_median, self.milliseconds_max
            ),
            format!("{} bytes of state, {} at most", self.bytes_median, self.bytes_max),
            format!(
                "{masked_and_pending} vectors travelled masked and pending, {masked_and_pending_min} or more each time"
            ),
            format!(
                "{} interrupts travelled in local APICs, {} CPUs not halted, {} times in the middle of the driver's accesses",
                self.in_apics, self.cpus_at_work, self.while_driving
            ),
            format!(
                "{} signals in a storm: the last one seen of every vector, each time; {} under handshake: {handled}",
                self.signals_in_storm, self.signals_under_handshake
            ),
        ]
    }
}
