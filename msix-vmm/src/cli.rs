//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::Mode;
use crate::boot::DeviceKind;
use crate::check::configuration::Delivery;
use crate::machine::kvm::ApicMode;
use crate::vhost_user::BackendAt;

/// The reference VMM of vm-msix: a guest drives the device, and what it sees is reported.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) check: CheckArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every scenario and report what was seen (the default)
    Check(CheckArgs),
    /// Boot Linux, with devices whose interrupts go through vm-msix; Ctrl-A x ends it
    Boot(BootArgs),
    /// Measure what everything costs, beside the least that it could cost
    Bench(BenchArgs),
    /// Be the device of a check, which starts this itself
    #[command(hide = true)]
    Device(DeviceArgs),
    /// Move a VM under interrupt load from process to process, and see that no interrupt is lost or invented
    Migrate(MigrateArgs),
    /// Do everything at random for a long time, and see that no interrupt is lost or invented and that the accounts add up
    Soak(SoakArgs),
    /// Host a VM for `migrate`, which starts it
    #[command(name = HOST_COMMAND, hide = true)]
    MigrateHost,
    /// Compare with QEMU's devices, operation by operation
    QemuDiff(QemuDiffArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BootArgs {
    /// The kernel: a vmlinux or a bzImage, for x86-64
    #[arg(long, value_name = "FILE", required_unless_present = "restore")]
    pub(crate) kernel: Option<PathBuf>,
    /// Its initial RAM disk
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,
    /// Its command line
    #[arg(long, value_name = "TEXT", default_value = "console=ttyS0")]
    pub(crate) cmdline: String,
    /// CPUs of the guest
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) cpus: u32,
    /// Memory of the guest, as in 512M or 2G
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = memory)]
    pub(crate) mem: u64,
    /// A file that is a disk of the guest's (virtio-blk), any number
    #[arg(long, value_name = "FILE")]
    pub(crate) disk: Vec<PathBuf>,
    /// Devices on the PCI bus, any number
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',')]
    pub(crate) device: Vec<DeviceKind>,
    /// A device that another process serves (vhost-user), any number: rng, console, fs or virtio's number of a kind, and where it listens
    #[arg(long, value_name = "KIND:SOCKET")]
    pub(crate) vhost_user: Vec<BackendAt>,
    /// Vectors of the endpoint test device, 1 to 2048
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=2048))]
    pub(crate) vectors: u16,
    /// Write what the devices' interrupts came to as JSON, when the guest has ended
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write down in this folder, for each device, what the guest does to its MSI-X and what comes of it
    #[arg(long, value_name = "FOLDER")]
    pub(crate) record: Option<PathBuf>,
    /// Where SIGUSR1 saves the guest, which ends here then
    #[arg(long, value_name = "FILE", conflicts_with = "vhost_user")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Go on with a saved guest, on the same disks and devices
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "initrd", "cmdline", "cpus", "mem", "record", "vhost_user"])]
    pub(crate) restore: Option<PathBuf>,
}

fn memory(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 20),
        None => (text.strip_suffix(['G', 'g']).unwrap_or(text), 30),
    };
    let is_plain = !text.ends_with(['M', 'm', 'G', 'g']);
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << unit)) {
        Some(bytes) if !is_plain => Ok(bytes),
        _ => Err("a number of megabytes or gigabytes is what is needed, as in 512M or 2G".into()),
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Vectors of the device
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=2048))]
    pub(crate) vectors: u16,
}

/// A year.
const MOST_MINUTES: f64 = 525_600.0;

/// The command by which `migrate` starts the processes that host its VM.
pub(crate) const HOST_COMMAND: &str = "migrate-host";

#[derive(Clone, Debug, Args)]
pub(crate) struct MigrateArgs {
    /// How often the VM moves, each time into a new process
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) migrations: u16,
    /// Vectors of the device, 4 to 200
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(4..=200))]
    pub(crate) vectors: u16,
    /// CPUs of the guest, 1 or 2
    #[arg(long, default_value = "2", value_parser = cpus)]
    pub(crate) cpus: usize,
    /// How the guest reaches its local APICs
    #[arg(long, value_enum, default_value_t = ApicMode::X2apic)]
    pub(crate) apic: ApicMode,
    /// How interrupts get to the guest [default: one after the other]
    #[arg(long, value_enum)]
    pub(crate) delivery: Option<Delivery>,
    /// Seed of everything random [default: another one every time]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SoakArgs {
    /// How long, in minutes, all deliveries together
    #[arg(long, value_name = "N", default_value = "1", value_parser = minutes)]
    pub(crate) minutes: f64,
    /// How interrupts get to the guest [default: one after the other]
    #[arg(long, value_enum)]
    pub(crate) delivery: Option<SoakDelivery>,
    /// Vectors of the device, 4 to 200
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(4..=200))]
    pub(crate) vectors: u16,
    /// Seed of everything random [default: another one every time]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How interrupts get to the guest, and where the device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SoakDelivery {
    /// The latch in memory and `KVM_SIGNAL_MSI`
    Signal,
    /// An eventfd for every vector
    Irqfd,
    /// The device in a process of its own
    DeviceProcess,
}

impl From<SoakDelivery> for Delivery {
    fn from(delivery: SoakDelivery) -> Self {
        match delivery {
            SoakDelivery::Signal => Self::Signal,
            SoakDelivery::Irqfd => Self::Irqfd,
            SoakDelivery::DeviceProcess => Self::DeviceProcess,
        }
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && minutes <= MOST_MINUTES => Ok(minutes),
        _ => Err(format!("a number over 0, of at most {MOST_MINUTES} minutes, is what is needed")),
    }
}

fn cpus(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "2" => Ok(2),
        _ => Err("a guest has 1 or 2 CPUs here".into()),
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArgs {
    /// Only workloads whose name begins like this
    #[arg(long, value_name = "PREFIX")]
    pub(crate) only: Option<String>,
    /// Only this mode of delivery
    #[arg(long, value_enum)]
    pub(crate) mode: Option<Mode>,
    /// Only this number of vectors, 1 to 2048
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=2048))]
    pub(crate) vectors: Option<u16>,
    /// Short, to see that it runs: the figures mean little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Run each workload once, and only count its ioctls
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) count: bool,
    /// Print rows as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the tables of docs/performance.md
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// What runs the guest
    #[arg(long, value_enum, default_value_t = MachineChoice::Auto)]
    pub(crate) machine: MachineChoice,
    /// Put the device into a process of its own, in a sandbox
    #[arg(long)]
    pub(crate) device_process: bool,
    /// Vectors of the device, 1 to 2048 [default: 1, 64 and 2048]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=2048))]
    pub(crate) vectors: Option<u16>,
    /// Seed of everything random [default: another one every time]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct QemuDiffArgs {
    /// Operations to compare, shared among the devices
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) ops: u64,
    /// Seed of the operations [default: another one every time]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Only this device
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,
    /// QEMU's program [default: $QEMU, else qemu-system-x86_64]
    #[arg(long, value_name = "PATH")]
    pub(crate) qemu: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the differences that are allowed, and why
    #[arg(long)]
    pub(crate) list: bool,
}

/// What runs the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MachineChoice {
    /// KVM where there is one, else host code
    Auto,
    /// A real guest on /dev/kvm
    Kvm,
    /// Host code in place of the guest
    Host,
}

impl Cli {
    /// The command, with its default.
    pub(crate) fn command(self) -> Command {
        self.command.unwrap_or(Command::Check(self.check))
    }
}
