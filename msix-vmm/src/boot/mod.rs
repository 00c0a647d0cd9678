//! `msix-vmm boot`: Linux on KVM, with a PCI bus of devices whose interrupts all go through vm-msix.
//!
//! A whole VMM, as small as it can be and be of use, for authors of others to look at. What each part is for:
//!
//! - before the guest: [`layout`] has the addresses; [`memory`] makes RAM and its map; [`loader`] puts kernel and initrd there,
//!   [`acpi`] and [`dsdt`] the tables that describe the machine, [`start`] and [`cpuid`] what the CPUs begin with
//! - the VM: [`vm`], with the router and the committer of vm-msix-kvm; [`vcpu`], a thread for each CPU
//! - what a CPU reaches: [`board`], with the [`serial`] line, and the bus of [`devices`], whose pins are in [`intx`]
//! - all of it together: [`machine`]; and how it is saved, to go on in another process: [`snapshot`]
//! - the user: [`console`], and how it [ends](end)

mod acpi;
mod board;
mod bridge;
mod console;
mod cpuid;
mod devices;
mod dsdt;
mod end;
mod error;
mod intx;
mod layout;
mod loader;
mod machine;
mod memory;
mod report;
mod serial;
mod snapshot;
mod start;
mod vcpu;
mod vm;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use board::Board;
pub(crate) use devices::DeviceKind;
use devices::Plugged;
use end::{End, Ending};
pub(crate) use error::BootError;
use machine::Machine;
use vm::Running;

use crate::cli::BootArgs;
use crate::machine::Bus;
use crate::report::say;

/// As many CPUs as have IDs of 8 bits, of which the last two mean something else.
const MOST_CPUS: u32 = 254;

/// Boots a guest, or goes on with one, and returns when it has ended: `true` if somebody wanted it so.
pub(crate) fn run(args: &BootArgs) -> Result<bool, BootError> {
    if let Some(path) = &args.snapshot {
        snapshot::check(path)?;
    }
    let mut machine = match (&args.restore, &args.kernel) {
        (Some(saved), _) => Machine::restored(args, saved)?,
        (None, Some(kernel)) => Machine::new(args, kernel)?,
        (None, None) => unreachable!("the command line demands one of them"),
    };
    let end = run_guest(args, &mut machine)?;
    say(format_args!("msix-vmm: {end}\n"));
    finish(args, &end, &machine.devices)?;
    Ok(end.is_clean())
}

/// Runs the guest to its end, with the terminal as its own.
fn run_guest(args: &BootArgs, machine: &mut Machine) -> Result<End, BootError> {
    let (ending, ended) = Ending::channel();
    let serial = machine.serial.clone();
    let board: Arc<dyn Bus> =
        Arc::new(Board::new(serial.clone(), machine.bus.clone(), ending.clone()));
    let _terminal = console::RawTerminal::enter(&io::stdin())?;
    console::end_by_signals(ending.clone())?;
    if args.snapshot.is_some() {
        console::save_by_signal(ending.clone())?;
    }
    console::type_input(io::stdin(), serial, ending.clone())?;
    let running = machine.vm.start(&board, &ending)?;
    // There is a sender, `ending`, for as long as this waits.
    match (ended.recv().expect("somebody can still tell"), &args.snapshot) {
        (End::Snapshot, Some(path)) => save(path, machine, running, &ended),
        (end, _) => Ok(end),
    }
}

/// Saves the guest, if it has not ended while it was being stopped.
fn save(
    path: &Path,
    machine: &Machine,
    running: Running,
    ended: &Receiver<End>,
) -> Result<End, BootError> {
    let cpus = running.stop();
    match (cpus, ended.try_iter().find(|end| *end != End::Snapshot)) {
        (Some(cpus), None) => snapshot::save(path, machine, &cpus).map(|()| End::Snapshot),
        (_, end) => Ok(end.expect("a CPU that ends says why")),
    }
}

fn finish(args: &BootArgs, end: &End, devices: &[Plugged]) -> Result<(), BootError> {
    match &args.report {
        Some(path) => report::write(path, end, devices),
        None => Ok(()),
    }
}
