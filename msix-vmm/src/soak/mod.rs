//! Everything at random, for a long time, and now and then at rest, where all must be right.
//!
//! Time goes by in [rounds](round): device threads signal and take signals back, a driver [works](work) at the device from both
//! CPUs, and vectors get descriptors and lose them. Then the producers stop, and it is judged: by the
//! [ledger](crate::check::ledger), whether the guest has seen what was signalled; by the [accounts], whether the device has counted
//! what its producers were told, and what became of each signal.

mod accounts;
mod report;
mod round;
mod subject;
mod work;

use std::error::Error;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::check::configuration::{Configuration, Delivery};
use crate::cli::{SoakArgs, SoakDelivery};
use crate::machine::kvm::{ApicMode, Vm};
use report::{Report, Row};
use round::Round;
use subject::Subject;

/// Soaks, and tells whether everything was as it must be.
pub(crate) fn run(args: &SoakArgs) -> Result<bool, Box<dyn Error>> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut report = Report { seed, skipped: None, rows: Vec::new() };
    let all = [SoakDelivery::Signal, SoakDelivery::Irqfd, SoakDelivery::DeviceProcess];
    let deliveries = args.delivery.map_or(all.to_vec(), |delivery| vec![delivery]);
    if let Err(error) = Vm::new(ApicMode::X2apic, 2) {
        if std::env::var_os("REQUIRE_KVM").is_some_and(|required| required == "1") {
            return Err(format!("REQUIRE_KVM is set, and there is no guest: {error}").into());
        }
        report.skipped = Some(format!("no guest on this computer: {error}"));
    } else {
        let share = Duration::from_secs_f64(args.minutes * 60.0) / deliveries.len() as u32;
        for delivery in deliveries {
            let row = soak(args, delivery.into(), seed, share);
            if !args.json {
                writeln!(io::stdout(), "{row}")?;
            }
            let passed = row.passed;
            report.rows.push(row);
            if !passed {
                break;
            }
        }
    }
    report.print(args.json)?;
    Ok(report.rows.iter().all(|row| row.passed))
}

/// Rounds with one delivery, for so long, or up to the first that fails.
fn soak(args: &SoakArgs, delivery: Delivery, seed: u64, share: Duration) -> Row {
    let configuration =
        Configuration { delivery, apic: ApicMode::X2apic, cpus: 2, vectors: args.vectors };
    let started = Instant::now();
    let mut row = Row::new(configuration);
    let outcome = Subject::new(configuration, seed).map_err(|error| error.to_string());
    let outcome = outcome.and_then(|mut subject| {
        while row.figures.rounds == 0 || started.elapsed() < share {
            let round = row.figures.rounds;
            row.figures.rounds += 1;
            // What is done in a round follows from its number, however the threads got on in those before.
            let random = fastrand::Rng::with_seed(seed.rotate_left(32) ^ round);
            let done = Round::run(&mut subject, &mut row.figures, random);
            done.map_err(|failure| format!("seed {seed}, round {round}: {failure}"))?;
        }
        Ok(())
    });
    row.end(outcome.err(), started.elapsed());
    row
}
