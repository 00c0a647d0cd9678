//! The check: every scenario, on every configuration, and what was seen.

pub(crate) mod configuration;
mod device_side;
mod guest_registers;
pub(crate) mod message_log;
pub(crate) mod parts;
mod report;
pub(crate) mod rig;
mod scenarios;
mod screen;
pub(crate) mod storm;
pub(crate) mod verdict;

use std::io;
use std::time::Instant;

use crate::cli::{CheckArgs, MachineChoice};
use crate::machine::MachineError;
use crate::machine::kvm::{ApicMode, Vm};
use configuration::Configuration;
use report::{Report, Row};
use rig::Rig;
use scenarios::Scenario;
use screen::Screen;
use verdict::Failure;

/// Why there was no check, or none to see.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("--machine kvm: {0}")]
    NoKvm(#[from] MachineError),
    #[error("the report could not be written: {0}")]
    Output(#[from] io::Error),
}

/// Runs it, and tells whether everything passed.
pub(crate) fn run(args: &CheckArgs) -> Result<bool, CheckError> {
    let (on_kvm, reason) = choose_machine(args.machine)?;
    let machine = if on_kvm { "kvm" } else { "host" };
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut report = Report::new(machine, reason, seed);
    let plan = Configuration::all(on_kvm, args.vectors);
    let total = plan.iter().map(|(_, extent)| scenarios::of(*extent).len()).sum();
    let mut screen = Screen::new(total, args.json);
    for (configuration, extent) in plan {
        screen.begin(&configuration)?;
        run_configuration(configuration, scenarios::of(extent), &mut screen, &mut report)?;
    }
    screen.end(&report)?;
    Ok(report.failed == 0)
}

/// Which machine, and why.
fn choose_machine(choice: MachineChoice) -> Result<(bool, String), MachineError> {
    if choice == MachineChoice::Host {
        return Ok((false, "as asked for".into()));
    }
    match (Vm::new(ApicMode::X2apic, 2), choice) {
        (Ok(_), MachineChoice::Kvm) => Ok((true, "as asked for".into())),
        (Ok(_), _) => Ok((true, "/dev/kvm is here".into())),
        (Err(error), MachineChoice::Kvm) => Err(error),
        (Err(error), _) => Ok((false, format!("no guest on this computer: {error}"))),
    }
}

fn run_configuration(
    configuration: Configuration,
    scenarios: &[Scenario],
    screen: &mut Screen,
    report: &mut Report,
) -> io::Result<()> {
    let row = |scenario, started: Instant, outcome: Result<String, String>| Row {
        scenario,
        configuration: configuration.to_string(),
        passed: outcome.is_ok(),
        seen: outcome.unwrap_or_else(|failure| failure),
        milliseconds: started.elapsed().as_millis() as u64,
    };
    let started = Instant::now();
    let rig = match Rig::build(configuration, report.seed) {
        Ok(rig) => rig,
        Err(error) => {
            let row = row("build", started, Err(error.to_string()));
            report.push(screen.row(row)?);
            return Ok(());
        }
    };
    for scenario in scenarios {
        screen.announce(&configuration, scenario.name);
        let started = Instant::now();
        let outcome = (scenario.run)(&rig);
        let hangs = matches!(outcome, Err(Failure::Machine(_)));
        let outcome = outcome.map_err(|failure| failure.to_string());
        report.push(screen.row(row(scenario.name, started, outcome))?);
        if hangs {
            // What comes next on this machine would wait as long, and say nothing new.
            break;
        }
    }
    Ok(())
}
