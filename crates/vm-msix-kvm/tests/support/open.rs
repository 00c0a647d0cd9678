//! /dev/kvm, or a line that says that there is none.

use std::io::Write;

use kvm_ioctls::Kvm;

/// KVM; `None`, with a visible line, on a machine that has none. With `REQUIRE_KVM=1` that is a failure.
pub(crate) fn kvm() -> Option<Kvm> {
    match Kvm::new() {
        Ok(kvm) => Some(kvm),
        Err(error) if std::env::var("REQUIRE_KVM").is_ok_and(|value| value == "1") => {
            panic!("REQUIRE_KVM=1, and /dev/kvm cannot be opened: {error}")
        }
        Err(error) => {
            skipped(&format!("no /dev/kvm ({error})"));
            None
        }
    }
}

/// Says that the rest of a test is left out, past the capture of a passing test's output.
pub(crate) fn skipped(reason: &str) {
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    // A closed stderr is no failure of the test.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}: {name}");
}
