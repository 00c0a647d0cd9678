//! The program as its user runs it.

mod support;

use std::process::Output;

use serde_json::Value;
use support::{json, msix_vmm, program, refuses, stdout, there_is_kvm};

/// Asserts that every row of a JSON report passed, and returns it.
fn passed(output: &Output) -> Value {
    let report = json(output);
    let failed: Vec<_> =
        report["rows"].as_array().unwrap().iter().filter(|row| row["passed"] != true).collect();
    assert!(failed.is_empty() && output.status.success(), "{failed:#?}");
    report
}

fn names<'a>(report: &'a Value, vectors: &str) -> Vec<&'a str> {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["configuration"].as_str().unwrap().ends_with(vectors))
        .map(|row| row["scenario"].as_str().unwrap())
        .collect()
}

#[test]
fn the_check_passes_in_process() {
    let report = passed(&msix_vmm(&["--machine", "host", "--json", "--seed", "7"]));
    assert_eq!(report["machine"], "host");
    assert_eq!(report["seed"], 7);
    assert_eq!(report["failed"], 0);
    assert!(names(&report, " 64 vectors").contains(&"affinity-under-storm"));
    assert!(names(&report, " 2048 vectors").contains(&"deliver-every-entry"));
}

#[test]
fn the_check_passes_on_a_real_guest() {
    if !there_is_kvm() {
        return;
    }
    let report = passed(&msix_vmm(&["check", "--machine", "kvm", "--json", "--vectors", "9"]));
    assert_eq!(report["machine"], "kvm");
    let configurations = ["signal, xAPIC", "signal, x2APIC", "irqfd, xAPIC", "irqfd, x2APIC"];
    for configuration in configurations {
        let rows = report["rows"].as_array().unwrap();
        let of_it =
            |row: &&Value| row["configuration"].as_str().unwrap().starts_with(configuration);
        assert_eq!(rows.iter().filter(of_it).count(), 17, "{configuration}");
    }
}

#[test]
fn the_report_for_people_ends_with_a_count() {
    let output = msix_vmm(&["--machine", "host", "--vectors", "1"]);
    let text = stdout(&output);
    assert!(text.contains("machine: host (as asked for)"), "{text}");
    assert!(text.trim_end().ends_with("17 passed, 0 failed"), "{text}");
    assert!(output.status.success());
}

#[test]
fn bad_arguments_are_refused_with_what_would_be_good() {
    for (args, said) in [
        (&["--vectors", "0"][..], "0 is not in 1..=2048"),
        (&["--vectors", "2049"], "2049 is not in 1..=2048"),
        (&["--vectors", "many"], "invalid digit"),
        (&["--machine", "xen"], "possible values: auto, kvm, host"),
        (&["--seed", "-1"], "-1"),
        (&["transmogrify"], "transmogrify"),
    ] {
        refuses(&[], args, said);
    }
}

/// As with `2>&1 | head`: it fails, and does not panic.
#[test]
fn an_error_that_nobody_reads_is_an_error_all_the_same() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program();
    let command = command.args(["--device-process", "--machine", "host"]).stderr(writer);
    assert_eq!(command.status().unwrap().code(), Some(1));
}
