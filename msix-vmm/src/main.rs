//! The reference VMM of vm-msix: it proves the crates on a real guest, and shows how they are used.

mod bus;
mod check;
mod cli;
mod device;
mod machine;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli::Command::Check(args) = cli::Cli::parse().command();
    match check::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("msix-vmm: {error}");
            ExitCode::FAILURE
        }
    }
}
