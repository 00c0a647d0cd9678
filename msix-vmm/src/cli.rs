//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};

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
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// What runs the guest
    #[arg(long, value_enum, default_value_t = MachineChoice::Auto)]
    pub(crate) machine: MachineChoice,
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
