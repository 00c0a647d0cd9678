//! What was seen, for people and for machines.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::check::configuration::Configuration;
use crate::check::tally::Tally;

/// The whole soak.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The seed of everything random.
    pub(super) seed: u64,
    /// Why nothing was done, if nothing was.
    pub(super) skipped: Option<String>,
    /// The deliveries, up to the first that failed.
    pub(super) rows: Vec<Row>,
}

/// One delivery.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The VM.
    pub(super) configuration: String,
    /// Whether everything was as it must be, each time.
    pub(super) passed: bool,
    /// What was not.
    pub(super) failure: Option<String>,
    /// What was done.
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// How long it took.
    pub(super) seconds: f64,
}

/// What was done up to the end, or to the failure.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    /// Times that everything came to rest and was judged.
    pub(super) rounds: u64,
    /// Signals, by what became of them.
    #[serde(flatten)]
    pub(super) signals: Tally,
    /// Pending signals that were delivered when their vector opened.
    pub(super) delivered: u64,
    /// Vectors that were pending when everything was at rest.
    pub(super) pending: u64,
    /// What drivers and VMM did.
    #[serde(flatten)]
    pub(super) done: Done,
    /// Interrupts that the guest's handlers have handled.
    pub(super) handled: u64,
}

/// What drivers and VMM did.
#[derive(Debug, Default, Serialize)]
pub(super) struct Done {
    /// A vector masked or unmasked.
    pub(super) masks: u64,
    /// A vector's message rewritten, and often another CPU's.
    pub(super) moves: u64,
    /// Function Mask, MSI-X Enable or Bus Master Enable written.
    pub(super) switches: u64,
    /// The PBA read.
    pub(super) polls: u64,
    /// The function reset.
    pub(super) resets: u64,
    /// The function saved.
    pub(super) saves: u64,
    /// A saved state restored.
    pub(super) restores: u64,
    /// Descriptors of vectors taken, brought, exchanged or dropped.
    pub(super) promotions: u64,
}

impl Row {
    /// Nothing done yet.
    pub(super) fn new(configuration: Configuration) -> Self {
        Self {
            configuration: configuration.to_string(),
            passed: false,
            failure: None,
            figures: Figures::default(),
            seconds: 0.0,
        }
    }

    /// It has ended, for this reason if it failed.
    pub(super) fn end(&mut self, failure: Option<String>, took: Duration) {
        (self.passed, self.failure, self.seconds) =
            (failure.is_none(), failure, took.as_secs_f64());
    }
}

impl Report {
    /// Prints the end for people, who have seen the rows, or everything for machines.
    pub(super) fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::stdout();
        if json {
            serde_json::to_writer_pretty(&mut out, self)?;
            return writeln!(out);
        }
        if let Some(reason) = &self.skipped {
            return writeln!(out, "skipped: {reason}");
        }
        let failed = self.rows.iter().filter(|row| !row.passed).count();
        writeln!(out, "\nseed {}, {} passed, {failed} failed", self.seed, self.rows.len() - failed)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { configuration, passed, failure, figures, seconds } = self;
        let Figures { rounds, signals, delivered, pending, done, handled } = figures;
        let verdict = if *passed { "ok" } else { "FAILED" };
        writeln!(f, "  {verdict:<6} {configuration}: {rounds} rounds in {seconds:.1} s")?;
        if let Some(failure) = failure {
            writeln!(f, "         {failure}")?;
        }
        let Tally { sent, latched, collapsed, handed_over, written, retracted } = signals;
        writeln!(
            f,
            "         {} signals: {sent} sent, {latched} latched, {collapsed} collapsed, {handed_over} handed over, \
             {written} by writers of descriptors",
            signals.signals()
        )?;
        writeln!(
            f,
            "         {delivered} of them delivered on unmask, {retracted} taken back by the device, \
             {pending} pending at rest, {handled} interrupts handled"
        )?;
        let Done { masks, moves, switches, polls, resets, saves, restores, promotions } = done;
        write!(
            f,
            "         {masks} masks and unmasks, {moves} moves, {switches} switches of the function, {polls} polls, \
             {resets} resets, {saves} saves, {restores} restores, {promotions} changes of descriptors"
        )
    }
}
