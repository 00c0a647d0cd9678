//! The benches as their user runs them: what they print, not what they measure.

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::{json, msix_vmm, program, refuses, stderr, there_is_kvm};

/// Runs the benches, shortly, and reads their JSON.
fn bench(args: &[&str]) -> Value {
    let output = msix_vmm(&[&["bench", "--quick", "--json"], args].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    json(&output)
}

/// What needs no KVM, in signal mode.
const ANYWHERE: [&str; 16] = [
    "bring-up/batch",
    "bring-up/one-by-one",
    "bring-up/linux",
    "bring-up/ten-devices",
    "mask-pair",
    "affinity",
    "trigger/masked",
    "trigger/function-masked",
    "table-read",
    "table-write",
    "capability-read",
    "pba-read",
    "snapshot",
    "restore",
    "disable",
    "destroy",
];

/// What does.
const ON_KVM: [&str; 3] = ["trigger/open", "trigger/beside-other-mask", "trigger/beside-same-mask"];

/// The rows of one mode, without that of memory, which has no time.
fn timed<'a>(rows: &'a Value, mode: &str) -> Vec<&'a Value> {
    let rows = rows.as_array().expect("an array of rows").iter();
    rows.filter(|row| row["mode"] == mode && row["workload"] != "memory").collect()
}

fn names<'a>(rows: &[&'a Value]) -> BTreeSet<&'a str> {
    rows.iter().map(|row| row["workload"].as_str().expect("a name")).collect()
}

#[test]
fn every_workload_is_measured_in_both_modes() {
    let rows = bench(&[]);
    let kvm = there_is_kvm();
    let anywhere = BTreeSet::from(ANYWHERE);
    let on_kvm: BTreeSet<_> = ANYWHERE.into_iter().chain(ON_KVM).collect();
    let none = BTreeSet::new();
    assert_eq!(names(&timed(&rows, "signal")), *if kvm { &on_kvm } else { &anywhere });
    assert_eq!(names(&timed(&rows, "irqfd")), *if kvm { &on_kvm } else { &none });
    for row in [timed(&rows, "signal"), timed(&rows, "irqfd")].concat() {
        for time in ["median_ns", "p99_ns", "floor_ns", "ratio"] {
            assert!(row[time].as_f64().is_some_and(|value| value > 0.0), "{time} of {row}");
        }
        for count in ["vectors", "threads"] {
            assert!(row[count].as_u64().is_some_and(|value| value > 0), "{count} of {row}");
        }
    }
}

#[test]
fn signal_mode_makes_no_ioctl_but_the_send() {
    let rows = bench(&["--mode", "signal"]);
    assert!(timed(&rows, "irqfd").is_empty());
    for row in timed(&rows, "signal") {
        for none in ["set_gsi_routing", "irqfd_assign", "irqfd_deassign"] {
            assert_eq!(row[none], 0, "{none} of {row}");
        }
        let sends = matches!(row["workload"].as_str(), Some(name) if ON_KVM.contains(&name));
        if !sends {
            assert_eq!(row["signal_msi"], 0, "{row}");
        }
    }
}

#[test]
fn a_part_can_be_asked_for() {
    let rows = bench(&["--only", "bring-up/l", "--mode", "signal", "--vectors", "9"]);
    let rows = timed(&rows, "signal");
    assert!(!rows.is_empty());
    for row in rows {
        assert_eq!((&row["workload"], &row["vectors"]), (&"bring-up/linux".into(), &9.into()));
    }
}

#[test]
fn counting_alone_prints_a_total() {
    if !there_is_kvm() {
        return;
    }
    let counted = bench(&["--count", "--mode", "irqfd", "--vectors", "3"]);
    let rows = counted["rows"].as_array().expect("rows");
    assert!(rows.iter().all(|row| row["median_ns"].is_null()));
    for name in ["set_gsi_routing", "irqfd_assign", "irqfd_deassign", "signal_msi"] {
        let sum: u64 = rows.iter().filter_map(|row| row[name].as_u64()).sum();
        let total = counted["total"][name].as_u64().expect("a number");
        assert!(total >= sum, "{name}: {total} in all, {sum} in the rows");
    }
}

#[test]
fn rows_are_printed_although_nobody_reads_what_is_said_of_them() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let args = ["bench", "--quick", "--json", "--only", "mask-pair", "--vectors", "1"];
    let output = program().args(args).stderr(writer).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!timed(&json(&output), "signal").is_empty());
}

#[test]
fn a_name_that_no_workload_has_is_refused_with_those_that_there_are() {
    let output = msix_vmm(&["bench", "--only", "nonsense"]);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("\"nonsense\"") && said.contains("bring-up/linux"), "{said}");
}

#[test]
fn bad_arguments_are_refused_with_what_would_be_good() {
    for (args, said) in [
        (["--mode", "xen"], "possible values: signal, irqfd"),
        (["--vectors", "4096"], "4096 is not in 1..=2048"),
        (["--count", "--markdown"], "cannot be used with '--markdown'"),
        (["--json", "--markdown"], "cannot be used with '--markdown'"),
    ] {
        refuses(&["bench"], &args, said);
    }
}
