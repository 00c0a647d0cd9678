//! What the user sees while the check runs, and at its end.

use std::io::{self, IsTerminal, Write};

use super::configuration::Configuration;
use super::report::{Report, Row};
use crate::report::say;

/// Rows as they come, for people; one JSON document at the end, for machines. On a terminal, a line that says what is
/// being done.
pub(crate) struct Screen {
    total: usize,
    done: usize,
    json: bool,
    watched: bool,
}

impl Screen {
    pub(crate) fn new(total: usize, json: bool) -> Self {
        Self { total, done: 0, json, watched: io::stderr().is_terminal() }
    }

    /// Another machine begins.
    pub(crate) fn begin(&self, configuration: &Configuration) -> io::Result<()> {
        if self.json { Ok(()) } else { writeln!(io::stdout(), "\n{configuration}") }
    }

    /// Another scenario begins.
    pub(crate) fn announce(&self, configuration: &Configuration, scenario: &str) {
        if self.watched {
            let at = self.done + 1;
            say(format_args!("\r\x1b[K[{at}/{}] {configuration}: {scenario}", self.total));
        }
    }

    /// A scenario has ended like this.
    pub(crate) fn row(&mut self, row: Row) -> io::Result<Row> {
        self.done += 1;
        self.clear();
        if !self.json {
            writeln!(io::stdout(), "{row}")?;
        }
        Ok(row)
    }

    /// All of them have.
    pub(crate) fn end(&self, report: &Report) -> io::Result<()> {
        if !self.json {
            return writeln!(io::stdout(), "{report}");
        }
        serde_json::to_writer_pretty(io::stdout(), report)?;
        writeln!(io::stdout())
    }

    fn clear(&self) {
        if self.watched {
            say(format_args!("\r\x1b[K"));
        }
    }
}
