//! The check with the device in a process of its own.

mod support;

use support::{json, msix_vmm, refuses, stderr, stdout, there_is_kvm};

#[test]
fn every_scenario_passes_with_the_device_in_a_process_of_its_own() {
    if !there_is_kvm() {
        return;
    }
    let output =
        msix_vmm(&["check", "--device-process", "--json", "--vectors", "64", "--seed", "1"]);
    let report = json(&output);
    let rows = report["rows"].as_array().unwrap();
    let failed: Vec<_> = rows.iter().filter(|row| row["passed"] != true).collect();
    assert!(failed.is_empty() && output.status.success(), "{failed:#?}");
    assert_eq!(report["machine"], "kvm");
    for apic in ["xAPIC", "x2APIC"] {
        let configuration = format!("device process, {apic}, 2 CPUs, 64 vectors");
        let of_it: Vec<_> =
            rows.iter().filter(|row| row["configuration"] == configuration).collect();
        // The 17 of every delivery, and two of this one.
        assert_eq!(of_it.len(), 19, "{configuration}");
        let seen = |scenario| {
            let row = of_it.iter().find(|row| row["scenario"] == scenario).expect(scenario);
            row["seen"].as_str().unwrap()
        };
        let confined = seen("device-process-confined");
        for forbidden in ["Open", "Socket", "Socketpair", "Ioctl", "Clone"] {
            assert!(confined.contains(forbidden), "{confined}");
        }
        assert!(confined.ends_with("by SIGSYS"), "{confined}");
        let killed = seen("device-process-killed");
        assert!(killed.starts_with("5 deaths") && killed.contains("64 GSIs back"), "{killed}");
    }
}

#[test]
fn a_device_process_on_a_machine_without_kvm_is_refused() {
    let output = msix_vmm(&["--device-process", "--machine", "host"]);
    let error = stderr(&output);
    assert!(error.contains("--device-process needs KVM"), "{error}");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}

#[test]
fn the_command_of_a_device_process_is_for_the_check_alone() {
    let output = msix_vmm(&["device", "--vectors", "1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
    let help = msix_vmm(&["--help"]);
    let help = stdout(&help);
    assert!(!help.lines().any(|line| line.trim_start().starts_with("device ")), "{help}");
}

#[test]
fn bad_arguments_are_refused_with_what_would_be_good() {
    for (args, said) in [
        (&["--vectors", "0"][..], "0 is not in 1..=2048"),
        (&["--machine", "xen"], "possible values: auto, kvm, host"),
        (&["migrate"], "migrate"),
    ] {
        refuses(&["--device-process"], args, said);
    }
}
