//! The check: every scenario, on every configuration, and what was seen.

mod configuration;
mod device_side;
mod guest_registers;
mod message_log;
mod report;
mod rig;
mod scenarios;
mod verdict;

use std::io::{IsTerminal, Write};
use std::time::Instant;

use crate::cli::{CheckArgs, MachineChoice};
use crate::machine::kvm::{ApicMode, Vm};
use configuration::Configuration;
use report::{Report, Row};
use rig::Rig;
use scenarios::Scenario;

/// Why there was no check.
#[derive(Debug, thiserror::Error)]
#[error("--machine kvm: {0}")]
pub(crate) struct NoKvm(String);

/// Runs it, and tells whether everything passed.
pub(crate) fn run(args: &CheckArgs) -> Result<bool, NoKvm> {
    let (on_kvm, reason) = choose_machine(args.machine)?;
    let machine = if on_kvm { "kvm" } else { "host" };
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut report = Report::new(machine, reason, seed);
    let plan = Configuration::all(on_kvm, args.vectors);
    let total = plan.iter().map(|(_, extent)| scenarios::of(*extent).len()).sum();
    let progress = Progress::new(total);
    for (configuration, extent) in plan {
        run_configuration(configuration, scenarios::of(extent), &progress, &mut report);
    }
    progress.clear();
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report).expect("plain data")),
        false => println!("{report}"),
    }
    Ok(report.failed == 0)
}

/// Which machine, and why.
fn choose_machine(choice: MachineChoice) -> Result<(bool, String), NoKvm> {
    if choice == MachineChoice::Host {
        return Ok((false, "as asked for".into()));
    }
    match (Vm::new(ApicMode::X2apic, 2), choice) {
        (Ok(_), MachineChoice::Kvm) => Ok((true, "as asked for".into())),
        (Ok(_), _) => Ok((true, "/dev/kvm is here".into())),
        (Err(error), MachineChoice::Kvm) => Err(NoKvm(error.to_string())),
        (Err(error), _) => Ok((false, format!("no guest on this computer: {error}"))),
    }
}

fn run_configuration(
    configuration: Configuration,
    scenarios: &[Scenario],
    progress: &Progress,
    report: &mut Report,
) {
    let started = Instant::now();
    let rig = Rig::build(configuration, report.seed);
    let row = |scenario, started: Instant, outcome: Result<String, String>| Row {
        scenario,
        configuration: configuration.to_string(),
        passed: outcome.is_ok(),
        seen: outcome.unwrap_or_else(|failure| failure),
        milliseconds: started.elapsed().as_millis() as u64,
    };
    let rig = match rig {
        Ok(rig) => rig,
        Err(error) => return report.push(row("build", started, Err(error.to_string()))),
    };
    for scenario in scenarios {
        progress.show(report.rows.len(), &configuration, scenario.name);
        let started = Instant::now();
        let outcome = (scenario.run)(&rig).map_err(|failure| failure.to_string());
        report.push(row(scenario.name, started, outcome));
    }
}

/// A line on the terminal that says how far it is; nothing where nobody watches.
struct Progress {
    total: usize,
    watched: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self { total, watched: std::io::stderr().is_terminal() }
    }

    fn show(&self, done: usize, configuration: &Configuration, scenario: &str) {
        if self.watched {
            eprint!("\r\x1b[K[{}/{}] {configuration}: {scenario}", done + 1, self.total);
            // A progress line that does not show is no reason to stop.
            let _ = std::io::stderr().flush();
        }
    }

    fn clear(&self) {
        if self.watched {
            eprint!("\r\x1b[K");
        }
    }
}
