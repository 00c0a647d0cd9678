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
use std::io::{self, Write};
use std::time::Instant;

use crate::check::configuration::{Configuration, Delivery};
use crate::cli::MigrateArgs;
use crate::machine::kvm::Vm;
pub(crate) use host::run as host;
use journey::Journey;
use report::{Report, Row};

/// Moves VMs about, and tells whether everything was as it must be.
pub(crate) fn run(args: &MigrateArgs) -> Result<bool, Box<dyn Error>> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut report = Report { seed, skipped: None, rows: Vec::new() };
    if let Err(error) = Vm::new(args.apic, args.cpus) {
        if std::env::var_os("REQUIRE_KVM").is_some_and(|required| required == "1") {
            return Err(format!("REQUIRE_KVM is set, and there is no guest: {error}").into());
        }
        report.skipped = Some(error.to_string());
    } else {
        let both = [Delivery::Signal, Delivery::Irqfd];
        for delivery in both.into_iter().filter(|one| args.delivery.is_none_or(|it| it == *one)) {
            let row = journey(args, delivery, seed);
            if !args.json {
                writeln!(io::stdout(), "{row}")?;
            }
            report.rows.push(row);
        }
    }
    print_end(args, &report)?;
    Ok(report.rows.iter().all(|row| row.passed))
}

fn journey(args: &MigrateArgs, delivery: Delivery, seed: u64) -> Row {
    let &MigrateArgs { apic, cpus, vectors, migrations, .. } = args;
    let configuration = Configuration { delivery, apic, cpus, vectors };
    let started = Instant::now();
    let mut journey = Journey::new(configuration, seed);
    let failure = journey.travel(migrations.into()).err().map(|stranded| stranded.to_string());
    Row {
        configuration: configuration.to_string(),
        passed: failure.is_none(),
        failure,
        figures: journey.figures(),
        seconds: started.elapsed().as_secs_f64(),
    }
}

fn print_end(args: &MigrateArgs, report: &Report) -> io::Result<()> {
    let mut out = io::stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, report)?;
        return writeln!(out);
    }
    if let Some(reason) = &report.skipped {
        return writeln!(out, "skipped: no guest on this computer: {reason}");
    }
    let failed = report.rows.iter().filter(|row| !row.passed).count();
    writeln!(out, "\nseed {}, {} passed, {failed} failed", report.seed, report.rows.len() - failed)
}
