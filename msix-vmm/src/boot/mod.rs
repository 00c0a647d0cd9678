//! `msix-vmm boot`: Linux on KVM, with a PCI bus of devices whose interrupts all go through vm-msix.
//!
//! A whole VMM, as small as it can be and be of use, for authors of others to look at. What each part is for:
//!
//! - before the guest: [`layout`] has the addresses; [`memory`] makes RAM and its map; [`loader`] puts kernel and initrd there,
//!   [`acpi`] and [`dsdt`] the tables that describe the machine, [`start`] and [`cpuid`] what the CPUs begin with
//! - the VM: [`vm`], with the router and the committer of vm-msix-kvm; [`vcpu`], a thread for each CPU
//! - what a CPU reaches: [`board`], with the [`serial`] line, and the bus of [`devices`], whose pins are in [`intx`]
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
mod memory;
mod report;
mod serial;
mod start;
mod vcpu;
mod vm;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use vm_memory::GuestMemoryMmap;

pub(crate) use devices::DeviceKind;
use devices::Plugged;
use end::{End, Ending};
pub(crate) use error::BootError;
use loader::Files;
use memory::Sharing;
use serial::SerialLine;
use vm::Vm;

use crate::cli::BootArgs;
use crate::machine::Bus;

/// As many CPUs as have IDs of 8 bits, of which the last two mean something else.
const MOST_CPUS: u32 = 254;

/// Boots a guest, and returns when it has ended: `true` if somebody wanted it so.
pub(crate) fn run(args: &BootArgs) -> Result<bool, BootError> {
    let (memory, entry) = load(args)?;
    let vm = Vm::new(memory, args.cpus, entry)?;
    let devices = devices::plug_all(args, &vm)?;
    let (ending, ended) = Ending::channel();

    let serial = Arc::new(SerialLine::new(vm.serial_interrupt()?, Box::new(io::stdout())));
    let bus = Arc::new(devices::bus(&devices)?);
    let board = Arc::new(board::Board::new(serial.clone(), bus, ending.clone()));
    let end = run_guest(vm, board, serial, &ending, &ended)?;

    eprintln!("msix-vmm: {end}");
    finish(args, &end, &devices)?;
    Ok(end.is_clean())
}

/// The guest's memory with everything in it that the kernel needs, and where that begins.
fn load(args: &BootArgs) -> Result<(GuestMemoryMmap, u64), BootError> {
    let cpus =
        u8::try_from(args.cpus).ok().filter(|cpus| (1..=MOST_CPUS).contains(&(*cpus).into()));
    let cpus = cpus.ok_or(BootError::Cpus { cpus: args.cpus, max: MOST_CPUS })?;
    let sharing = if args.vhost_user.is_empty() { Sharing::Private } else { Sharing::Shared };
    let memory = memory::allocate(args.mem, sharing)?;
    let files =
        Files { kernel: &args.kernel, initrd: args.initrd.as_deref(), command_line: &args.cmdline };
    let entry = loader::load(&memory, args.mem, &files)?;
    acpi::write(&memory, cpus)?;
    Ok((memory, entry))
}

/// Runs the guest to its end, with the terminal as its own.
fn run_guest(
    vm: Vm,
    board: Arc<dyn Bus>,
    serial: Arc<SerialLine>,
    ending: &Ending,
    ended: &Receiver<End>,
) -> Result<End, BootError> {
    let _terminal = console::RawTerminal::enter(&io::stdin())?;
    console::end_by_signals(ending.clone())?;
    console::type_input(io::stdin(), serial, ending.clone())?;
    let _running = vm.start(&board, ending)?;
    // There is a sender, `ending`, for as long as this waits.
    Ok(ended.recv().expect("somebody can still tell"))
}

fn finish(args: &BootArgs, end: &End, devices: &[Plugged]) -> Result<(), BootError> {
    match &args.report {
        Some(path) => report::write(path, end, devices),
        None => Ok(()),
    }
}
