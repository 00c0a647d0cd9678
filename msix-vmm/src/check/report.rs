//! What the check saw, for people and for machines.

use std::fmt;

use serde::Serialize;

/// One scenario on one machine.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// The scenario's name.
    pub(crate) scenario: &'static str,
    /// The machine it ran on.
    pub(crate) configuration: String,
    /// Whether everything was as it must be.
    pub(crate) passed: bool,
    /// What was seen.
    pub(crate) seen: String,
    /// How long it took.
    pub(crate) milliseconds: u64,
}

/// The whole check.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// `kvm` or `host`.
    pub(crate) machine: &'static str,
    /// Why this machine.
    pub(crate) reason: String,
    /// The seed of everything random.
    pub(crate) seed: u64,
    /// How many rows passed.
    pub(crate) passed: usize,
    /// How many did not.
    pub(crate) failed: usize,
    /// The rows.
    pub(crate) rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(machine: &'static str, reason: String, seed: u64) -> Self {
        Self { machine, reason, seed, passed: 0, failed: 0, rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: Row) {
        match row.passed {
            true => self.passed += 1,
            false => self.failed += 1,
        }
        self.rows.push(row);
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, passed, seen, milliseconds, .. } = self;
        let verdict = if *passed { "ok" } else { "FAILED" };
        write!(f, "  {verdict:<6} {scenario:<32} {milliseconds:>6} ms  {seen}")
    }
}

impl fmt::Display for Report {
    /// How it ended; the rows have been shown as they came.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, reason, seed, passed, failed, .. } = self;
        writeln!(f, "\nmachine: {machine} ({reason}), seed {seed}")?;
        write!(f, "{passed} passed, {failed} failed")
    }
}
