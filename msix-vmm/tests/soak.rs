//! The soak, as its user starts it.

use std::fs::File;
use std::process::{Command, Output};

use serde_json::Value;

fn soak(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msix-vmm"));
    command.arg("soak").args(args).output().expect("it starts")
}

fn there_is_kvm() -> bool {
    let Err(error) = File::options().read(true).write(true).open("/dev/kvm") else {
        return true;
    };
    assert!(std::env::var_os("REQUIRE_KVM").is_none(), "REQUIRE_KVM is set, and /dev/kvm: {error}");
    eprintln!("skipped: /dev/kvm: {error}");
    false
}

#[test]
fn c3_oracles_hold_and_accounts_add_up_with_every_delivery() {
    if !there_is_kvm() {
        return;
    }
    let output = soak(&["--minutes", "0.1", "--json", "--seed", "7"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert!(output.status.success(), "{report:#}");
    let rows = report["rows"].as_array().expect("rows");
    for (row, delivery) in rows.iter().zip(["signal", "irqfd", "device process"]) {
        assert!(row["configuration"].as_str().unwrap().starts_with(delivery), "{row:#}");
        assert_eq!(row["passed"], true, "{row:#}");
        for done in ["rounds", "latched", "collapsed", "delivered", "retracted", "handled", "masks"]
        {
            assert!(row[done].as_u64().unwrap() > 0, "{done}: {row:#}");
        }
    }
    let done = |row: usize, what: &str| rows[row][what].as_u64().unwrap() > 0;
    // Each delivery has its own way for signals of open vectors.
    assert!(done(0, "sent") && done(1, "sent") && done(1, "written") && done(2, "handed_over"));
    assert_eq!(rows.len(), 3);
}

#[test]
fn bad_arguments_are_refused_with_what_would_be_good() {
    for (args, said) in [
        (["--minutes", "0"], "a number over 0"),
        (["--minutes", "nan"], "a number over 0"),
        (["--vectors", "3"], "3 is not in 4..=200"),
        (["--delivery", "host"], "possible values: signal, irqfd, device-process"),
    ] {
        let output = soak(&args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(error.contains(said), "{args:?}: {error}");
    }
}
