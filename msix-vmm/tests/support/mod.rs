//! The program as its user runs it.
#![allow(dead_code, reason = "each test program uses its part")]

use std::fs::File;
use std::process::{Command, Output};

use serde_json::Value;

/// The program, to be given its arguments.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_msix-vmm"))
}

/// Runs it, to its end.
pub(crate) fn msix_vmm(args: &[&str]) -> Output {
    program().args(args).output().expect("it starts")
}

/// What it printed for people.
pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("it prints text")
}

/// What it complained of.
pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("it prints text")
}

/// What it printed for machines.
#[track_caller]
pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_str(stdout(output))
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// Whether there is KVM to test with.
pub(crate) fn there_is_kvm() -> bool {
    let Err(error) = File::options().read(true).write(true).open("/dev/kvm") else {
        return true;
    };
    assert!(std::env::var_os("REQUIRE_KVM").is_none(), "REQUIRE_KVM is set, and /dev/kvm: {error}");
    eprintln!("skipped: /dev/kvm: {error}");
    false
}

/// A command refuses arguments before it does anything, and says what would be good.
#[track_caller]
pub(crate) fn refuses(command: &[&str], args: &[&str], said: &str) {
    let output = msix_vmm(&[command, args].concat());
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert!(error.contains(said), "{args:?}: {error}");
    assert!(output.stdout.is_empty(), "{args:?}");
}
