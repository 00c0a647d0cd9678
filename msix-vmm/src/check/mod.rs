//! The check: every scenario, on every configuration, and what was seen.

pub(crate) mod configuration;
pub(crate) mod descriptors;
pub(crate) mod device_side;
pub(crate) mod driving;
mod guest_registers;
pub(crate) mod ledger;
pub(crate) mod message_log;
pub(crate) mod parts;
pub(crate) mod remote;
mod report;
pub(crate) mod rest;
pub(crate) mod rig;
mod scenarios;
mod screen;
pub(crate) mod storm;
pub(crate) mod tally;
pub(crate) mod verdict;

use std::io;
use std::time::Instant;

use crate::cli::{CheckArgs, MachineChoice};
use crate::machine::MachineError;
use crate::machine::kvm::{ApicMode, Vm};
use configuration::{Configuration, Extent, Setting};
use report::{Report, Row};
use rig::Rig;
use screen::Screen;
use verdict::Failure;

/// Why there was no check, or none to see.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("--machine kvm: {0}")]
    NoKvm(#[from] MachineError),
    #[error("--device-process needs KVM, which --machine host does without")]
    DeviceProcessOnHost,
    #[error("the report could not be written: {0}")]
    Output(#[from] io::Error),
}

/// Runs it, and tells whether everything passed.
pub(crate) fn run(args: &CheckArgs) -> Result<bool, CheckError> {
    let (setting, reason) = choose_setting(args)?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut report = Report::new(setting.machine(), reason, seed);
    let plan = Configuration::all(setting, args.vectors);
    let total = plan
        .iter()
        .map(|(configuration, extent)| scenarios::of(configuration, *extent).count())
        .sum();
    let mut screen = Screen::new(total, args.json);
    for (configuration, extent) in plan {
        screen.begin(&configuration)?;
        run_configuration(configuration, extent, &mut screen, &mut report)?;
    }
    screen.end(&report)?;
    Ok(report.failed == 0)
}

/// What runs the guest, where the device is, and why.
fn choose_setting(args: &CheckArgs) -> Result<(Setting, String), CheckError> {
    let CheckArgs { machine: choice, device_process, .. } = *args;
    if choice == MachineChoice::Host {
        return match device_process {
            true => Err(CheckError::DeviceProcessOnHost),
            false => Ok((Setting::Host, "as asked for".into())),
        };
    }
    let on_kvm = if device_process { Setting::DeviceProcess } else { Setting::Kvm };
    match (Vm::new(ApicMode::X2apic, 2), choice) {
        (Ok(_), MachineChoice::Kvm) => Ok((on_kvm, "as asked for".into())),
        (Ok(_), _) => Ok((on_kvm, "/dev/kvm is here".into())),
        (Err(error), MachineChoice::Kvm) => Err(error.into()),
        (Err(error), _) => {
            let without = if device_process { ", so no device process" } else { "" };
            Ok((Setting::Host, format!("no guest on this computer{without}: {error}")))
        }
    }
}

fn run_configuration(
    configuration: Configuration,
    extent: Extent,
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
    for scenario in scenarios::of(&configuration, extent) {
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
