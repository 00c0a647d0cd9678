//! A machine: the VM, and what is on its board; new, or as it was saved.

use std::io;
use std::path::Path;
use std::sync::Arc;

use vm_memory::GuestMemoryMmap;

use super::bridge::HostBridge;
use super::devices::{self, Plugged};
use super::error::{BootError, lacks};
use super::loader::{self, Files};
use super::memory::{self, Sharing};
use super::serial::{Output, SerialLine};
use super::snapshot::{CpuKind, Saved, SnapshotError, refused};
use super::vm::Vm;
use super::{MOST_CPUS, acpi};
use crate::bus::PciBus;
use crate::cli::BootArgs;

/// A machine whose CPUs do not run yet.
pub(super) struct Machine {
    pub(super) vm: Vm,
    pub(super) serial: Arc<SerialLine>,
    pub(super) bridge: Arc<HostBridge>,
    pub(super) bus: Arc<PciBus>,
    pub(super) devices: Vec<Plugged>,
}

impl Machine {
    /// A new one, which is to boot a kernel.
    pub(super) fn new(args: &BootArgs, kernel: &Path) -> Result<Self, BootError> {
        let (memory, entry) = load(args, kernel)?;
        let vm = Vm::new(memory, args.cpus)?;
        vm.enter(entry)?;
        let serial = SerialLine::new(vm.serial_interrupt()?, output());
        Self::assemble(args, vm, serial)
    }

    /// One that was saved to a file.
    pub(super) fn restored(args: &BootArgs, path: &Path) -> Result<Self, BootError> {
        let mut saved = Saved::open(path)?;
        let state = saved.state()?;
        let cpus = state.cpus()?;
        let vm = Vm::new(memory::allocate(state.memory, Sharing::Private)?, cpus)?;
        let serial = SerialLine::restored(&state.serial, vm.serial_interrupt()?, output());
        let serial = serial.ok_or_else(|| refused(path, SnapshotError::Serial))?;
        let machine = Self::assemble(args, vm, serial)?;

        let kind = CpuKind::here(cpus)?;
        state.check(&kind, &machine.devices).map_err(|error| refused(path, error))?;
        saved.fill(&machine.vm.memory)?;
        state.restore(&machine)?;
        Ok(machine)
    }

    fn assemble(args: &BootArgs, vm: Vm, serial: SerialLine) -> Result<Self, BootError> {
        let devices = devices::plug_all(args, &vm)?;
        let bridge = Arc::new(HostBridge::new().map_err(lacks("the host bridge"))?);
        let bus = Arc::new(devices::bus(bridge.clone(), &devices)?);
        Ok(Self { vm, serial: Arc::new(serial), bridge, bus, devices })
    }
}

/// The guest's memory with everything in it that the kernel needs, and where that begins.
fn load(args: &BootArgs, kernel: &Path) -> Result<(GuestMemoryMmap, u64), BootError> {
    let cpus =
        u8::try_from(args.cpus).ok().filter(|cpus| (1..=MOST_CPUS).contains(&(*cpus).into()));
    let cpus = cpus.ok_or(BootError::Cpus { cpus: args.cpus, max: MOST_CPUS })?;
    let sharing = if args.vhost_user.is_empty() { Sharing::Private } else { Sharing::Shared };
    let memory = memory::allocate(args.mem, sharing)?;
    let files = Files { kernel, initrd: args.initrd.as_deref(), command_line: &args.cmdline };
    let entry = loader::load(&memory, args.mem, &files)?;
    acpi::write(&memory, cpus)?;
    Ok((memory, entry))
}

fn output() -> Output {
    Box::new(io::stdout())
}
