//! What the comparison has found, for people and for machines.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::allowed::{Allowed, Met};
use super::devices::{Device, Signals};
use super::search::Found;

/// One device.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    device: &'static str,
    vectors: u16,
    /// Whether vectors were signalled, or only registers compared.
    signalled: bool,
    outcome: Outcome,
    operations: u64,
    sequences: u64,
    /// Messages that were seen on both sides.
    messages: u64,
    milliseconds: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Same,
    Differs {
        /// What differs after the last operation.
        what: String,
        /// The shortest sequence that shows it, from a reset on.
        sequence: Vec<String>,
    },
    Skipped(String),
}

/// The whole comparison.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// QEMU, as it calls itself.
    qemu: String,
    seed: u64,
    operations: u64,
    milliseconds: u64,
    /// Devices that differ.
    failed: usize,
    /// How often each allowed difference made one.
    allowed: BTreeMap<&'static str, u64>,
    rows: Vec<Row>,
}

impl Row {
    pub(super) fn compared(device: &Device, found: Found, milliseconds: u64) -> Self {
        let Found { operations, sequences, messages, difference, .. } = found;
        let outcome = match difference {
            None => Outcome::Same,
            Some(minimal) => Outcome::Differs {
                what: minimal.what,
                sequence: minimal.ops.iter().map(ToString::to_string).collect(),
            },
        };
        let skipped = Self::skipped(device, String::new());
        Self { outcome, operations, sequences, messages, milliseconds, ..skipped }
    }

    pub(super) fn skipped(device: &Device, reason: String) -> Self {
        Self {
            device: device.name,
            vectors: device.vectors,
            signalled: device.signals == Signals::Ivshmem,
            outcome: Outcome::Skipped(reason),
            operations: 0,
            sequences: 0,
            messages: 0,
            milliseconds: 0,
        }
    }
}

impl Report {
    pub(super) fn new(qemu: String, seed: u64) -> Self {
        let allowed = BTreeMap::new();
        Self { qemu, seed, operations: 0, milliseconds: 0, failed: 0, allowed, rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Row) {
        self.operations += row.operations;
        self.milliseconds += row.milliseconds;
        self.failed += usize::from(matches!(row.outcome, Outcome::Differs { .. }));
        self.rows.push(row);
    }

    pub(super) fn finish(&mut self, met: &Met) {
        self.allowed =
            Allowed::ALL.into_iter().map(|allowed| (allowed.name(), met.count(allowed))).collect();
    }

    /// Whether nothing differs.
    pub(super) fn passed(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, vectors, operations, sequences, messages, milliseconds, .. } = self;
        let figures = format!("{device:<18} {vectors:>4} vectors {milliseconds:>7} ms ");
        match &self.outcome {
            Outcome::Skipped(reason) => write!(f, "  skipped  {device:<18} {reason}"),
            Outcome::Same => {
                write!(f, "  ok       {figures} {operations} operations in {sequences} sequences")?;
                match self.signalled {
                    true => write!(f, ", {messages} messages"),
                    false => write!(f, ", registers only"),
                }
            }
            Outcome::Differs { what, sequence } => {
                writeln!(f, "  DIFFERS  {figures} {what}")?;
                write!(f, "           the shortest sequence that shows it, after a reset:")?;
                let mut numbered = (1_usize..).zip(sequence);
                numbered.try_for_each(|(at, op)| write!(f, "\n           {at:>3}. {op}"))
            }
        }
    }
}

impl fmt::Display for Report {
    /// How it ended; the rows have been shown as they came.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { qemu, seed, operations, milliseconds, failed, allowed, rows } = self;
        writeln!(f, "\nallowed differences, and how often each made one (--list says why)")?;
        for (name, count) in allowed {
            writeln!(f, "  {name:<24} {count:>8}")?;
        }
        writeln!(f, "\n{qemu}, seed {seed}")?;
        let (seconds, devices) = (*milliseconds as f64 / 1000.0, rows.len());
        write!(f, "{operations} operations compared in {seconds:.1} s, ")?;
        write!(f, "{failed} of {devices} devices differ")
    }
}
