//! The reference VMM of vm-msix: it proves the crates on a real guest, and shows how they are used.

mod bench;
mod boot;
mod bus;
mod check;
mod cli;
mod device;
mod device_process;
mod endpoint_test;
mod function;
mod intx;
mod kvm_state;
mod long_mode;
mod machine;
mod migrate;
mod pci;
mod qemu;
mod report;
mod soak;
mod vhost_user;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "what is typed goes to the serial line, not to hvc0")
)]
mod virtio;

use std::process::ExitCode;

use clap::Parser;

use cli::Command;

fn main() -> ExitCode {
    let succeeded = match cli::Cli::parse().command() {
        Command::Check(args) => check::run(&args).map_err(|error| error.to_string()),
        Command::Bench(args) => bench::run(&args).map_err(|error| error.to_string()),
        Command::Boot(args) => boot::run(&args).map_err(|error| error.to_string()),
        Command::Device(args) => device_process::run(&args).map_err(|error| error.to_string()),
        Command::Migrate(args) => migrate::run(&args).map_err(|error| error.to_string()),
        Command::Soak(args) => soak::run(&args).map_err(|error| error.to_string()),
        Command::MigrateHost => migrate::host().map_err(|error| error.to_string()),
        Command::QemuDiff(args) => qemu::run(&args).map_err(|error| error.to_string()),
    };
    match succeeded {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::say(format_args!("msix-vmm: {error}\n"));
            ExitCode::FAILURE
        }
    }
}
