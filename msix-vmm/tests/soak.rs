//! The soak, as its user starts it.

mod support;

use support::{json, msix_vmm, refuses, there_is_kvm};

#[test]
fn c3_oracles_hold_and_accounts_add_up_with_every_delivery() {
    if !there_is_kvm() {
        return;
    }
    let output = msix_vmm(&["soak", "--minutes", "0.1", "--json", "--seed", "7"]);
    let report = json(&output);
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
        refuses(&["soak"], &args, said);
    }
}
