//! A VM that moves between processes, as its user starts it.

mod support;

use std::process::Command;

use serde_json::Value;
use support::{json, msix_vmm, refuses, stderr, there_is_kvm};

/// Moves a VM, asserts that all was as it must be, and returns what was measured with each mode of delivery.
fn moved(args: &[&str]) -> Vec<Value> {
    let output = msix_vmm(&[&["migrate"], args].concat());
    let report = json(&output);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(report["skipped"], Value::Null);
    report["rows"].as_array().expect("rows").clone()
}

#[test]
fn c14_no_interrupt_is_lost_or_invented_between_processes() {
    if !there_is_kvm() {
        return;
    }
    let rows = moved(&["--migrations", "6", "--json", "--seed", "7"]);
    for (row, delivery) in rows.iter().zip(["signal", "irqfd"]) {
        assert!(row["configuration"].as_str().unwrap().starts_with(delivery), "{row:#}");
        assert_eq!(row["passed"], true, "{row:#}");
        assert_eq!(row["migrations"], 6);
        // Two of each kind of vector are held each time.
        assert!(row["masked_and_pending_min"].as_u64().unwrap() >= 8, "{row:#}");
        assert!(row["signals_in_storm"].as_u64().unwrap() > 0, "{row:#}");
        assert!(row["signals_under_handshake"].as_u64().unwrap() > 0, "{row:#}");
    }
    assert_eq!(rows.len(), 2);
}

#[test]
fn c14_the_smallest_and_the_largest_move() {
    if !there_is_kvm() {
        return;
    }
    for args in [["--cpus", "1", "--vectors", "4"], ["--apic", "xapic", "--vectors", "200"]] {
        let args = [&args[..], &["--migrations", "2", "--json"]].concat();
        assert!(moved(&args).iter().all(|row| row["passed"] == true), "{args:?}");
    }
}

#[test]
fn bad_arguments_are_refused_with_what_would_be_good() {
    for (args, said) in [
        (["--vectors", "3"], "3 is not in 4..=200"),
        (["--cpus", "3"], "1 or 2"),
        (["--delivery", "host"], "possible values: signal, irqfd"),
        (["--apic", "8259"], "possible values: xapic, x2apic"),
        (["--migrations", "-1"], "-1"),
        (["--migrations", "0"], "0 is not in 1..=65535"),
    ] {
        refuses(&["migrate"], &args, said);
    }
}

/// A host that is not told anything, or told what nobody says, ends.
#[test]
fn a_host_ends_with_whoever_started_it() {
    let host = |input: &str| {
        let mut shell = Command::new("sh");
        let script = format!("printf '{input}' | \"$0\" migrate-host");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_msix-vmm")]).output().expect("it starts")
    };
    assert!(host("").status.success());
    let output = host(r"\377\377\377\377\377\377\377\377");
    assert!(!output.status.success());
    assert!(stderr(&output).contains("a frame of"), "{output:?}");
}
