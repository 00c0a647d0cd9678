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
use std::time::{Duration, Instant};

use crate::check::configuration::{Configuration, Delivery};
use crate::cli::{SoakArgs, SoakDelivery};
use crate::machine::kvm::ApicMode;
use crate::report::{Report, Row};
use report::Figures;
use round::Round;
use subject::Subject;

/// Soaks, and tells whether everything was as it must be.
pub(crate) fn run(args: &SoakArgs) -> Result<bool, Box<dyn Error>> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut report = Report::new(seed, args.json);
    let all = [SoakDelivery::Signal, SoakDelivery::Irqfd, SoakDelivery::DeviceProcess];
    let deliveries = args.delivery.map_or(all.to_vec(), |delivery| vec![delivery]);
    if report.has_guest(ApicMode::X2apic, 2)? {
        let share = Duration::from_secs_f64(args.minutes * 60.0) / deliveries.len() as u32;
        for delivery in deliveries {
            if !report.push(soak(args, delivery.into(), seed, share))? {
                break;
            }
        }
    }
    Ok(report.end()?)
}

/// Rounds with one delivery, for so long, or up to the first that fails.
fn soak(args: &SoakArgs, delivery: Delivery, seed: u64, share: Duration) -> Row<Figures> {
    let configuration =
        Configuration { delivery, apic: ApicMode::X2apic, cpus: 2, vectors: args.vectors };
    let started = Instant::now();
    let mut figures = Figures::default();
    let outcome = Subject::new(configuration, seed).map_err(|error| error.to_string());
    let outcome = outcome.and_then(|mut subject| {
        while figures.rounds == 0 || started.elapsed() < share {
            let round = figures.rounds;
            figures.rounds += 1;
            // What is done in a round follows from its number, however the threads got on in those before.
            let random = fastrand::Rng::with_seed(seed.rotate_left(32) ^ round);
            let done = Round::run(&mut subject, &mut figures, random);
            done.map_err(|failure| format!("seed {seed}, round {round}: {failure}"))?;
        }
        Ok(())
    });
    Row::new(configuration, figures, outcome.err(), started.elapsed())
}
