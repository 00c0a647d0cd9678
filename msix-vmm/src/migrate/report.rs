//! What was seen, for people and for machines.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::messages::Departure;

/// All journeys.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The seed of everything random.
    pub(super) seed: u64,
    /// Why there was no journey, if there was none.
    pub(super) skipped: Option<String>,
    /// The journeys.
    pub(super) rows: Vec<Row>,
}

/// One journey.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The VM.
    pub(super) configuration: String,
    /// Whether everything was as it must be, after each migration and at the end.
    pub(super) passed: bool,
    /// What was not.
    pub(super) failure: Option<String>,
    /// What was measured up to the end, or to the failure.
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// How long it all took.
    pub(super) seconds: f64,
}

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

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { configuration, passed, failure, figures, seconds } = self;
        let Figures { migrations, masked_and_pending, masked_and_pending_min, .. } = figures;
        let verdict = if *passed { "ok" } else { "FAILED" };
        writeln!(f, "  {verdict:<6} {configuration}: {migrations} migrations in {seconds:.1} s")?;
        if let Some(failure) = failure {
            writeln!(f, "         {failure}")?;
        }
        let (median, max) = (figures.milliseconds_median, figures.milliseconds_max);
        writeln!(f, "         at a standstill for {median:.1} ms, {max:.1} at most")?;
        let (median, max) = (figures.bytes_median, figures.bytes_max);
        writeln!(f, "         {median} bytes of state, {max} at most")?;
        writeln!(
            f,
            "         {masked_and_pending} vectors travelled masked and pending, {masked_and_pending_min} or more each time"
        )?;
        writeln!(
            f,
            "         {} interrupts travelled in local APICs, {} CPUs not halted, {} times in the middle of the driver's accesses",
            figures.in_apics, figures.cpus_at_work, figures.while_driving
        )?;
        write!(
            f,
            "         {} signals in a storm: the last one seen of every vector, each time; {} under handshake: {}",
            figures.signals_in_storm,
            figures.signals_under_handshake,
            if *passed { "as many handler runs" } else { "see above" },
        )
    }
}
