//! The comparison with QEMU: random accesses and signals, done to its devices and to ours, must show the same.
//!
//! QEMU's MSI-X was written by others, from the same specification; so it knows nothing of our mistakes.

mod allowed;
mod board;
mod compare;
mod devices;
mod error;
mod generate;
mod guest;
mod ivshmem;
mod op;
mod oracle;
mod ours;
mod process;
mod qtest;
mod report;
mod search;
mod theirs;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod search_tests;

use std::io::{self, Write};
use std::time::Instant;

use crate::cli::QemuDiffArgs;
use allowed::Met;
use compare::Comparison;
use devices::{DEVICES, Device};
pub(crate) use error::QemuError;
use ours::Ours;
use process::Program;
use report::{Report, Row};
use search::{Found, search};
use theirs::Theirs;

/// Compares, and tells whether nothing differs.
pub(crate) fn run(args: &QemuDiffArgs) -> Result<bool, QemuError> {
    if args.list {
        write!(io::stdout(), "{}", allowed::list()).map_err(QemuError::Output)?;
        return Ok(true);
    }
    let devices = chosen(args.device.as_deref())?;
    let program = match Program::find(args.qemu.as_deref()) {
        Ok(program) => program,
        Err(reason) => {
            let reason = skip(reason)?;
            return show(args.json, &serde_json::json!({ "skipped": reason }), || {
                format!("skipped: {reason}")
            })
            .map(|()| true);
        }
    };
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut report = Report::new(program.version.clone(), seed);
    let mut met = Met::default();
    let shares: u64 = devices.iter().map(|device| device.share).sum();
    for device in devices {
        let operations = args.ops.saturating_mul(device.share).div_ceil(shares);
        let row = compare_device(&program, device, operations, seed, &mut met)?;
        if !args.json {
            writeln!(io::stdout(), "{row}").map_err(QemuError::Output)?;
        }
        report.push(row);
    }
    report.finish(&met);
    show(args.json, &report, || report.to_string())?;
    Ok(report.passed())
}

fn compare_device(
    program: &Program,
    device: &Device,
    operations: u64,
    seed: u64,
    met: &mut Met,
) -> Result<Row, QemuError> {
    if !program.has(device) {
        let reason = skip(QemuError::NoDevice(device.name))?;
        return Ok(Row::skipped(device, reason));
    }
    let started = Instant::now();
    let found = search_device(program, device, operations, seed)?;
    met.add(&found.met);
    Ok(Row::compared(device, found, started.elapsed().as_millis() as u64))
}

fn search_device(
    program: &Program,
    device: &Device,
    operations: u64,
    seed: u64,
) -> Result<Found, QemuError> {
    let mut theirs = Theirs::start(program, device)?;
    let mut ours = Ours::new(theirs.found().layout)?;
    let board = theirs.board().clone();
    let sequences = generate::sequences(device.vectors, &board, device.signals);
    let comparison = Comparison::new(&mut ours, &mut theirs, &board);
    search(comparison, &sequences, operations, seed)
}

fn chosen(name: Option<&str>) -> Result<Vec<&'static Device>, QemuError> {
    let chosen: Vec<_> =
        DEVICES.iter().filter(|device| name.is_none_or(|name| device.name == name)).collect();
    match (chosen.is_empty(), name) {
        (true, Some(name)) => {
            let there = DEVICES.iter().map(|device| device.name).collect::<Vec<_>>().join(", ");
            Err(QemuError::UnknownDevice { name: name.to_owned(), there })
        }
        _ => Ok(chosen),
    }
}

/// The reason for skipping something, unless QEMU must be there.
fn skip(reason: QemuError) -> Result<String, QemuError> {
    match std::env::var_os("REQUIRE_QEMU") {
        Some(_) => Err(QemuError::Required(Box::new(reason))),
        None => Ok(reason.to_string()),
    }
}

fn show(
    json: bool,
    document: &impl serde::Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), QemuError> {
    let mut out = io::stdout();
    if json {
        let written = serde_json::to_writer_pretty(&mut out, document).map_err(io::Error::from);
        written.and_then(|()| writeln!(out)).map_err(QemuError::Output)
    } else {
        writeln!(out, "{}", text()).map_err(QemuError::Output)
    }
}
