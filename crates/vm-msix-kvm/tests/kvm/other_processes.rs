//! Producers that are processes of their own: they write when they like, obey masks, and may be killed (C13).

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use vm_msix_kvm::Committer;

use crate::support::fixture::{Fixture, function};
use crate::support::wait::until;
use crate::support::{Msix, guest, to_apic};

/// What the other process is told to do, in its environment.
const TASK: &str = "VM_MSIX_TEST_PRODUCER";
const ONCE: &str = "once";
const UNTIL_KILLED: &str = "until killed";

/// The other process: this test program, running this test alone, with the eventfd as its standard input.
#[test]
fn is_the_other_process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let eventfd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let mut eventfd = std::fs::File::from(eventfd);
    loop {
        match eventfd.write(&1_u64.to_ne_bytes()) {
            Ok(8) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("write to the eventfd: {other:?}"),
        }
        if task == ONCE {
            return;
        }
    }
}

fn start(task: &str, descriptor: &impl AsFd) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "other_processes::is_the_other_process"])
        .env(TASK, task)
        .stdin(descriptor.as_fd().try_clone_to_owned().unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Another process writes the eventfd once, and ends.
fn write_once(descriptor: &impl AsFd) {
    assert!(start(ONCE, descriptor).wait().unwrap().success());
}

/// A function with one vector on a descriptor, for each way to commit.
fn each(test: impl Fn(&Fixture, Msix)) {
    let Some(fixture) = Fixture::new() else { return };
    test(&fixture, fixture.function(1));
    let spawned = Committer::spawn(fixture.router.clone()).unwrap();
    test(&fixture, function(1, fixture.delivery_by(spawned)));
}

#[test]
fn c13_what_another_process_writes_while_masked_is_pending_and_delivered_once() {
    each(|fixture, mut msix| {
        guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
        let guard = msix.get_irqfd(0).unwrap();
        msix.flush().unwrap();
        write_once(&guard);
        fixture.apic().expect(0x41);

        guest(&mut msix).mask(0);
        write_once(&guard);
        write_once(&guard);
        fixture.apic().expect_nothing();
        assert!(guest(&mut msix).is_pending(0));
        assert!(guest(&mut msix).is_pending(0));
        guest(&mut msix).unmask(0);
        fixture.apic().expect(0x41);
        guest(&mut msix).mask(0);
        fixture.apic().expect_nothing();
        assert!(!guest(&mut msix).is_pending(0));
    });
}

/// The child writes as fast as it can, masked or not, and is killed in the midst of it.
#[test]
fn c13_a_process_that_writes_all_the_while_obeys_masks_and_may_be_killed() {
    each(|fixture, mut msix| {
        guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
        let guard = msix.get_irqfd(0).unwrap();
        let mut child = start(UNTIL_KILLED, &guard);
        until("the other process", || fixture.apic().has(0x41));
        for _ in 0..20 {
            guest(&mut msix).mask(0);
            fixture.apic().clear();
            until("a signal while masked", || guest(&mut msix).is_pending(0));
            fixture.apic().expect_nothing();
            guest(&mut msix).unmask(0);
            until("what was latched", || fixture.apic().has(0x41));
            fixture.apic().clear();
            until("what comes now", || fixture.apic().has(0x41));
        }
        guest(&mut msix).mask(0);
        fixture.apic().clear();
        until("a signal while masked", || guest(&mut msix).is_pending(0));
        // SIGKILL, and gone when this returns.
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());

        fixture.apic().expect_nothing();
        assert!(guest(&mut msix).is_pending(0));
        guest(&mut msix).unmask(0);
        fixture.apic().expect(0x41);
        guest(&mut msix).mask(0);
        fixture.apic().expect_nothing();
        assert!(!guest(&mut msix).is_pending(0));

        // Whoever comes next uses the same eventfd.
        guest(&mut msix).unmask(0);
        write_once(&guard);
        fixture.apic().expect(0x41);
    });
}
