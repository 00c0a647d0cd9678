//! The comparison with QEMU as its user runs it.

mod support;

use std::process::Output;

use serde_json::Value;
use support::{json, program, refuses, stderr, stdout};

fn qemu_diff(args: &[&str], environment: &[(&str, Option<&str>)]) -> Output {
    let mut command = program();
    command.arg("qemu-diff").args(args);
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.output().expect("it starts")
}

#[test]
fn nothing_differs_but_what_is_allowed() {
    let output = qemu_diff(&["--ops", "2000", "--seed", "7", "--json"], &[]);
    let report = json(&output);
    assert!(output.status.success(), "{report:#}");
    if let Some(reason) = report.get("skipped") {
        eprintln!("skipped: {reason}");
        return;
    }
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 7);
    for row in rows {
        match &row["outcome"]["skipped"] {
            Value::String(reason) => eprintln!("skipped: {reason}"),
            _ => assert_eq!(row["outcome"], "same", "{row:#}"),
        }
    }
    assert!(report["operations"].as_u64().unwrap() >= 2000 || rows.iter().any(is_skipped));
    assert!(rows[0]["messages"].as_u64().unwrap() > 20 || is_skipped(&rows[0]), "{report:#}");
}

fn is_skipped(row: &Value) -> bool {
    row["outcome"]["skipped"].is_string()
}

const NOWHERE: [&str; 2] = ["--qemu", "/nowhere/qemu"];

#[test]
fn without_qemu_it_is_skipped_and_says_why() {
    let output = qemu_diff(&NOWHERE, &[("REQUIRE_QEMU", None)]);
    let text = stdout(&output);
    assert!(output.status.success());
    assert!(
        text.starts_with("skipped: /nowhere/qemu could not be started: No such file"),
        "{text}"
    );
    let by_environment =
        qemu_diff(&["--json"], &[("QEMU", Some("/nowhere/qemu")), ("REQUIRE_QEMU", None)]);
    assert!(json(&by_environment)["skipped"].is_string());
}

#[test]
fn where_qemu_is_required_its_absence_is_a_failure() {
    let output = qemu_diff(&NOWHERE, &[("REQUIRE_QEMU", Some("1"))]);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("REQUIRE_QEMU is set, and /nowhere/qemu"), "{error}");
}

#[test]
fn a_device_that_is_not_there_is_refused_with_those_that_are() {
    let output = qemu_diff(&["--device", "floppy"], &[]);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("no device floppy, only ivshmem-doorbell, virtio-rng-pci"), "{error}");
}

#[test]
fn the_allowed_differences_are_listed_without_qemu() {
    let output = qemu_diff(&["--list"], &[("QEMU", Some("/nowhere/qemu"))]);
    let text = stdout(&output);
    assert!(output.status.success());
    assert_eq!(text.matches("PCIe Base").count(), 6, "{text}");
}

#[test]
fn bad_arguments_are_refused_with_what_would_be_good() {
    for (args, said) in [
        (["--ops", "0"], "0 is not in 1.."),
        (["--ops", "many"], "invalid digit"),
        (["--seed", "-1"], "-1"),
    ] {
        refuses(&["qemu-diff"], &args, said);
    }
}
