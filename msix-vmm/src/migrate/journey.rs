//! A VM's way through processes, with one mode of delivery.

use std::time::{Duration, Instant};

use super::messages::{Begin, Departure, Order, Then};
use super::process::{HostError, Process};
use super::report::Figures;
use crate::check::configuration::Configuration;
use crate::check::ledger::Ledger;
use crate::check::storm::Pace;
use crate::check::verdict::Failure;

/// Why a journey ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stranded {
    #[error("{0}")]
    Host(#[from] HostError),
    #[error("{0}")]
    Judged(#[from] Failure),
}

/// A VM on its way.
pub(super) struct Journey {
    configuration: Configuration,
    random: fastrand::Rng,
    ledger: Ledger,
    times: Vec<Duration>,
    sizes: Vec<usize>,
    departures: Vec<Departure>,
}

impl Journey {
    pub(super) fn new(configuration: Configuration, seed: u64) -> Self {
        Self {
            configuration,
            random: fastrand::Rng::with_seed(seed),
            ledger: Ledger::new(configuration.vectors),
            times: Vec::new(),
            sizes: Vec::new(),
            departures: Vec::new(),
        }
    }

    /// Moves the VM so many times, each time into a process that has hosted nothing before.
    pub(super) fn travel(&mut self, migrations: usize) -> Result<(), Stranded> {
        let mut host = Process::start()?;
        host.order(&self.order(Begin::Boot, migrations), None)?;
        host.resumed()?;
        for left in (0..migrations).rev() {
            // It waits for its order while the other one still works.
            let destination = Process::start()?;
            self.ledger.judge(&host.at_rest()?)?;
            host = self.migrate(host, destination, left)?;
        }
        self.ledger.judge(&host.at_rest()?)?;
        self.ledger.note_once_more();
        self.ledger.judge(&host.at_rest()?)?;
        Ok(host.ended()?)
    }

    /// What was measured on the way.
    pub(super) fn figures(&self) -> Figures {
        let signals = (self.ledger.total(Pace::Storm), self.ledger.total(Pace::Handshake));
        Figures::new(&self.times, &self.sizes, &self.departures, signals)
    }

    /// From when the source stops its CPUs to when those of the destination run, the VM stands still.
    fn migrate(
        &mut self,
        mut source: Process,
        mut destination: Process,
        left: usize,
    ) -> Result<Process, Stranded> {
        let stopped_for = source.leaving()?;
        let leaving = Instant::now();
        let (departure, state) = source.left()?;
        let begin = Begin::Continue { held: departure.held.clone() };
        destination.order(&self.order(begin, left), Some(&state))?;
        destination.resumed()?;
        self.times.push(stopped_for + leaving.elapsed());

        source.ended()?;
        self.ledger.note(&departure.signals)?;
        self.sizes.push(state.len());
        self.departures.push(departure);
        Ok(destination)
    }

    fn order(&mut self, begin: Begin, migrations_left: usize) -> Order {
        Order {
            configuration: self.configuration,
            seed: self.random.u64(..),
            begin,
            then: if migrations_left == 0 { Then::Stay } else { Then::Leave },
        }
    }
}
