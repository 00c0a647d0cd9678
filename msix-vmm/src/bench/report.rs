//! How rows are shown: a table for people, JSON for programs, Markdown for the documentation.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::{iter, thread};

use serde::Serialize;

use super::bring_up;
use super::ioctls::Ioctls;
use super::plan::{Case, Driver, Mode};
use super::row::{Row, TITLES};
use crate::cli::BenchArgs;
use crate::report::say;

/// What the output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Rows as they come.
    People,
    /// An array of rows, at the end.
    Json,
    /// Tables, at the end.
    Markdown,
}

impl Format {
    /// The one that is asked for.
    pub(super) fn of(args: &BenchArgs) -> Self {
        match (args.json, args.markdown) {
            (true, _) => Self::Json,
            (_, true) => Self::Markdown,
            _ => Self::People,
        }
    }
}

/// What was measured, and where it is shown.
pub(super) struct Report {
    format: Format,
    delivery: String,
    rows: Vec<Row>,
    watched: bool,
}

/// The result of a run that only counts.
#[derive(Serialize)]
struct Counted<'a> {
    rows: &'a [Row],
    /// Of everything, set-up included.
    total: Ioctls,
}

/// The widths of all columns but the last.
const WIDTHS: [usize; 9] = [32, 6, 4, 7, 8, 8, 8, 6, 15];

impl Report {
    /// Begins, with what has to be known about the computer.
    pub(super) fn begin(format: Format, delivery: &str) -> io::Result<Self> {
        if format == Format::People {
            let mut out = io::stdout();
            writeln!(out, "{}\n", about(delivery))?;
            writeln!(out, "{}", aligned(TITLES.map(str::to_owned)))?;
        } else {
            say(format_args!("msix-vmm: {}\n", about(delivery)));
        }
        let watched = io::stderr().is_terminal();
        Ok(Self { format, delivery: delivery.to_owned(), rows: Vec::new(), watched })
    }

    /// A row is being measured.
    pub(super) fn announce(&self, what: &str) {
        if self.watched {
            say(format_args!("\r\x1b[K{what} ..."));
        }
    }

    /// It has been.
    pub(super) fn push(&mut self, row: Row) -> io::Result<()> {
        self.clear();
        if self.format == Format::People {
            writeln!(io::stdout(), "{}", aligned(row.cells()))?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// It could not be.
    pub(super) fn failed(&self, what: &str, why: &dyn std::error::Error) {
        self.clear();
        say(format_args!("msix-vmm: {what}: {why}\n"));
    }

    /// All have been timed.
    pub(super) fn end(&self) -> io::Result<()> {
        match self.format {
            Format::People => writeln!(io::stdout(), "\n{EXPLANATION}"),
            Format::Json => json(&self.rows),
            Format::Markdown => write!(io::stdout(), "{}", markdown(&self.rows, &self.delivery)),
        }
    }

    /// All have been counted.
    pub(super) fn end_counting(&self, total: Ioctls) -> io::Result<()> {
        match self.format {
            Format::Json => json(&Counted { rows: &self.rows, total }),
            _ => writeln!(io::stdout(), "\nall, set-up and clearing away included: {total}"),
        }
    }

    fn clear(&self) {
        if self.watched {
            say(format_args!("\r\x1b[K"));
        }
    }
}

const EXPLANATION: &str = "\
ioctls: KVM_SET_GSI_ROUTING/KVM_IRQFD/KVM_IRQFD deassign/KVM_SIGNAL_MSI, of one run that is not timed.
ratio: the median of neighbouring turns of ours and the floor. With two threads: how ours scale to how the floor scales.
floor: in signal mode the bare KVM_SIGNAL_MSI where one is sent, else an atomic step for each vector; in irqfd mode the bare
system calls. Beside a mask: the trigger alone. By a guest: the same accesses to a place where nothing is.";

fn about(delivery: &str) -> String {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{delivery}; {cpus} CPU(s) here. `trigger/beside-*` has one thread that triggers and one that flips a mask; \
         what else runs, a thread that commits routes included, takes turns with them."
    )
}

fn aligned(cells: [String; 10]) -> String {
    let mut line = String::new();
    for (column, cell) in cells.iter().enumerate() {
        let _ = match WIDTHS.get(column) {
            Some(width) if column < 2 => write!(line, "{cell:<width$}  "),
            Some(width) => write!(line, "{cell:>width$}  "),
            None => write!(line, "{cell}"),
        };
    }
    line.trim_end().to_owned()
}

fn json(value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(io::stdout(), value)?;
    writeln!(io::stdout())
}

fn markdown(rows: &[Row], delivery: &str) -> String {
    let mut text = format!("{}\n", about(delivery));
    for mode in [Mode::Signal, Mode::Irqfd] {
        growth(&mut text, rows, mode);
    }
    let _ = write!(text, "\n### Every row\n\n{}", rule(&TITLES.map(str::to_owned)));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.cells().join(" | "));
    }
    text
}

/// How bring-up grows: an order a line, a number of vectors a column.
fn growth(text: &mut String, rows: &[Row], mode: Mode) {
    let grows = |row: &&Row| {
        let Case { workload, driver, .. } = row.case;
        row.case.mode == mode && driver == Some(Driver::Host) && workload != bring_up::TEN_DEVICES
    };
    let rows: Vec<_> = rows.iter().filter(grows).collect();
    if rows.is_empty() {
        return;
    }
    let sizes: BTreeSet<_> = rows.iter().map(|row| row.case.vectors).collect();
    let titles = iter::once(format!("{mode} mode"));
    let titles: Vec<_> = titles.chain(sizes.iter().map(|size| format!("n = {size}"))).collect();
    let _ = write!(text, "\n### Bring-up, {mode} mode: median (ratio to the floor)\n\n");
    text.push_str(&rule(&titles));
    for order in rows.chunk_by(|a, b| a.case.workload == b.case.workload) {
        let _ = write!(text, "| {} |", order[0].case.workload);
        for &size in &sizes {
            let row = order.iter().find(|row| row.case.vectors == size);
            let _ =
                write!(text, " {} |", row.map(|row| row.median_and_ratio()).unwrap_or_default());
        }
        text.push('\n');
    }
}

fn rule(titles: &[String]) -> String {
    format!("| {} |\n|{}\n", titles.join(" | "), "---|".repeat(titles.len()))
}
