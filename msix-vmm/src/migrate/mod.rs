//! A VM under interrupt load that moves from process to process.
//!
//! One process starts all others, passes the state from each to the next, which it does not look into, and judges what the guest
//! has seen ([`ledger`](crate::check::ledger)). Each of the others hosts the VM once ([`mod@host`]): it restores it, lets everything come that was
//! pending, loads it again, and saves it.

mod host;
mod hosted;
mod journey;
mod load;
mod messages;
mod process;
mod report;
mod wire;

use std::error::Error;
use std::time::Instant;

use crate::check::configuration::{Configuration, Delivery};
use crate::cli::MigrateArgs;
use crate::report::{Report, Row};
pub(crate) use host::run as host;
use journey::Journey;
use report::Figures;

/// Moves VMs about, and tells whether everything was as it must be.
pub(crate) fn run(args: &MigrateArgs) -> Result<bool, Box<dyn Error>> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut report = Report::new(seed, args.json);
    if report.has_guest(args.apic, args.cpus)? {
        let both = [Delivery::Signal, Delivery::Irqfd];
        for delivery in both.into_iter().filter(|one| args.delivery.is_none_or(|it| it == *one)) {
            report.push(journey(args, delivery, seed))?;
        }
    }
    Ok(report.end()?)
}

fn journey(args: &MigrateArgs, delivery: Delivery, seed: u64) -> Row<Figures> {
    let &MigrateArgs { apic, cpus, vectors, migrations, .. } = args;
    let configuration = Configuration { delivery, apic, cpus, vectors };
    let started = Instant::now();
    let mut journey = Journey::new(configuration, seed);
    let failure = journey.travel(migrations.into()).err().map(|stranded| stranded.to_string());
    Row::new(configuration, journey.figures(), failure, started.elapsed())
}
