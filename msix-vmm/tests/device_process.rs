//! The check with the device in a process of its own.

use std::fs::File;
use std::process::{Command, Output};

use serde_json::Value;

fn msix_vmm(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_msix-vmm")).args(args).output().expect("it starts")
}

/// Whether there is KVM to test with.
fn has_kvm() -> bool {
    let Err(error) = File::options().read(true).write(true).open("/dev/kvm") else { return true };
    assert!(std::env::var_os("REQUIRE_KVM").is_none(), "REQUIRE_KVM is set, and /dev/kvm: {error}");
    eprintln!("skipped: /dev/kvm: {error}");
    false
}

#[test]
fn every_scenario_passes_with_the_device_in_a_process_of_its_own() {
    if !has_kvm() {
        return;
    }
    let output =
        msix_vmm(&["check", "--device-process", "--json", "--vectors", "64", "--seed", "1"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
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
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
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
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(!help.lines().any(|line| line.trim_start().starts_with("device ")), "{help}");
}
