//! What commands that keep a VM busy for long have seen, for people and for machines.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::check::configuration::Configuration;
use crate::machine::kvm::{ApicMode, Vm};

/// The whole command.
#[derive(Debug, Serialize)]
pub(crate) struct Report<F> {
    /// The seed of everything random.
    seed: u64,
    /// Why nothing was done, if nothing was.
    skipped: Option<String>,
    /// One after the other.
    rows: Vec<Row<F>>,
    /// Whether it is for machines.
    #[serde(skip)]
    json: bool,
}

/// One VM.
#[derive(Debug, Serialize)]
pub(crate) struct Row<F> {
    /// What VM.
    configuration: String,
    /// Whether everything was as it must be, each time.
    passed: bool,
    /// What was not.
    failure: Option<String>,
    /// What was done and measured, up to the end or to the failure.
    #[serde(flatten)]
    figures: F,
    /// How long it took.
    seconds: f64,
}

/// What was done with a VM, and measured.
pub(crate) trait Figures: Serialize {
    /// How much was done.
    fn extent(&self) -> String;

    /// The rest, a line each; what is said of every signal is so if it passed.
    fn lines(&self, passed: bool) -> Vec<String>;
}

/// Says something beside the results. Whoever listened may have gone.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    let _ = io::stderr().write_fmt(what);
}

impl<F: Figures> Report<F> {
    pub(crate) fn new(seed: u64, json: bool) -> Self {
        Self { seed, skipped: None, rows: Vec::new(), json }
    }

    /// Whether there can be a guest here; if not, that is why all is skipped.
    ///
    /// # Errors
    ///
    /// It is required.
    pub(crate) fn has_guest(
        &mut self,
        apic: ApicMode,
        cpus: usize,
    ) -> Result<bool, Box<dyn Error>> {
        let Err(error) = Vm::new(apic, cpus) else { return Ok(true) };
        if std::env::var_os("REQUIRE_KVM").is_some_and(|required| required == "1") {
            return Err(format!("REQUIRE_KVM is set, and there is no guest: {error}").into());
        }
        self.skipped = Some(format!("no guest on this computer: {error}"));
        Ok(false)
    }

    /// Takes a row, and shows it to people; tells whether it passed.
    pub(crate) fn push(&mut self, row: Row<F>) -> io::Result<bool> {
        if !self.json {
            writeln!(io::stdout(), "{row}")?;
        }
        let passed = row.passed;
        self.rows.push(row);
        Ok(passed)
    }

    /// Prints the end for people, who have seen the rows, or everything for machines; tells whether all passed.
    pub(crate) fn end(self) -> io::Result<bool> {
        let mut out = io::stdout();
        let failed = self.rows.iter().filter(|row| !row.passed).count();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &self)?;
            writeln!(out)?;
        } else if let Some(reason) = &self.skipped {
            writeln!(out, "skipped: {reason}")?;
        } else {
            let passed = self.rows.len() - failed;
            writeln!(out, "\nseed {}, {passed} passed, {failed} failed", self.seed)?;
        }
        Ok(failed == 0)
    }
}

impl<F> Row<F> {
    pub(crate) fn new(
        configuration: Configuration,
        figures: F,
        failure: Option<String>,
        took: Duration,
    ) -> Self {
        Self {
            configuration: configuration.to_string(),
            passed: failure.is_none(),
            failure,
            figures,
            seconds: took.as_secs_f64(),
        }
    }
}

impl<F: Figures> fmt::Display for Row<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { configuration, passed, failure, figures, seconds } = self;
        let verdict = if *passed { "ok" } else { "FAILED" };
        let extent = figures.extent();
        write!(f, "  {verdict:<6} {configuration}: {extent} in {seconds:.1} s")?;
        let mut lines = failure.iter().cloned().chain(figures.lines(*passed));
        lines.try_for_each(|line| write!(f, "\n         {line}"))
    }
}
