//! A vCPU that unmasks waits for no commit, and what is signalled before it is delivered by it, once (C3, C13).

use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use vm_msix::Signal;
use vm_msix_kvm::Committer;

use crate::support::deferred::{Deferred, message};
use crate::support::producer::Producer;
use crate::support::{guest, to_apic};

fn is_readable(committer: &Committer) -> bool {
    let descriptor = committer.descriptor().unwrap();
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).unwrap() == 1
}

#[test]
fn an_unmask_commits_nothing_and_the_committer_does() {
    let Some(vm) = Deferred::polled() else { return };
    let (mut msix, guards) = vm.function_on_descriptors(2);
    assert!(!is_readable(&vm.committer));
    guest(&mut msix).unmask(0);
    assert!(is_readable(&vm.committer));
    assert_eq!(vm.commits_of_kvm(), 0);
    assert_eq!(vm.table.commits.take(), [] as [Vec<_>; 0]);
    assert!(!vm.is_assigned(&guards[0]));

    vm.committer.run_pending();
    assert_eq!(vm.table.commits.take(), [[message(0)]]);
    assert_eq!(vm.commits_of_kvm(), 1);
    assert!(vm.is_assigned(&guards[0]) && !vm.is_assigned(&guards[1]));
    assert!(!is_readable(&vm.committer));
    vm.committer.run_pending();
    assert_eq!(vm.table.commits.take(), [] as [Vec<_>; 0]);
}

#[test]
fn c3_c13_what_is_written_before_the_commit_is_pending_and_delivered_once_by_it() {
    let Some(vm) = Deferred::polled() else { return };
    let (mut msix, guards) = vm.function_on_descriptors(2);
    guest(&mut msix).unmask(0);
    Producer::of(&guards[0]).signal();
    Producer::of(&guards[0]).signal();
    for _ in 0..2 {
        // Reading the Pending Bit takes nothing away.
        assert!(guest(&mut msix).is_pending(0));
        assert!(!guest(&mut msix).is_pending(1));
    }
    vm.fixture.apic().expect_nothing();

    vm.committer.run_pending();
    vm.fixture.apic().expect(0x40);
    assert!(!guest(&mut msix).is_pending(0));
    // KVM has nothing left of it: a close ends every delivery.
    guest(&mut msix).mask(0);
    vm.fixture.apic().expect_nothing();
    guest(&mut msix).unmask(0);
    guest(&mut msix).mask(0);
    vm.fixture.apic().expect_nothing();
}

#[test]
fn triggers_of_this_process_do_not_wait_for_the_commit() {
    let Some(vm) = Deferred::polled() else { return };
    let (mut msix, _guards) = vm.function_on_descriptors(1);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    guest(&mut msix).unmask(0);
    // What was latched goes with the unmask.
    assert_eq!(vm.fixture.apic().requested(), [0x40]);
    vm.fixture.apic().clear();
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(vm.fixture.apic().requested(), [0x40]);
    vm.fixture.apic().clear();
    assert_eq!(vm.commits_of_kvm(), 0);

    vm.committer.run_pending();
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    vm.fixture.apic().expect(0x40);
    guest(&mut msix).mask(0);
    vm.fixture.apic().expect_nothing();
}

/// What was counted while the vector was masked is moved to the latch, and sent, when it opens: with no commit yet.
#[test]
fn c13_what_was_counted_while_masked_is_sent_by_the_unmask_and_not_again_by_the_commit() {
    let Some(vm) = Deferred::polled() else { return };
    let (mut msix, guards) = vm.function_on_descriptors(1);
    Producer::of(&guards[0]).signal();
    assert!(guest(&mut msix).is_pending(0));
    guest(&mut msix).unmask(0);
    assert_eq!(vm.fixture.apic().requested(), [0x40]);
    vm.fixture.apic().clear();
    assert!(!guest(&mut msix).is_pending(0));
    vm.committer.run_pending();
    guest(&mut msix).mask(0);
    vm.fixture.apic().expect_nothing();
}

#[test]
fn the_same_route_again_is_assigned_at_once_without_the_table() {
    let Some(vm) = Deferred::polled() else { return };
    let (mut msix, guards) = vm.function_on_descriptors(1);
    guest(&mut msix).unmask(0);
    vm.committer.run_pending();
    vm.table.commits.take();
    for _ in 0..3 {
        guest(&mut msix).mask(0);
        assert!(!vm.is_assigned(&guards[0]));
        guest(&mut msix).unmask(0);
        assert!(vm.is_assigned(&guards[0]));
    }
    guest(&mut msix).disable();
    guest(&mut msix).enable();
    msix.pause();
    msix.resume();
    assert!(vm.is_assigned(&guards[0]));
    vm.committer.run_pending();
    assert_eq!(vm.table.commits.take(), [] as [Vec<_>; 0]);
    Producer::of(&guards[0]).signal();
    vm.fixture.apic().expect(0x40);
}

/// Else a guest that never rests would fill the queue.
#[test]
fn c10_a_vector_is_queued_once_however_often_the_guest_changes_its_mind() {
    let Some(vm) = Deferred::polled() else { return };
    let (mut msix, guards) = vm.function_on_descriptors(1);
    for _ in 0..100 {
        guest(&mut msix).unmask(0);
        guest(&mut msix).mask(0);
    }
    guest(&mut msix).unmask(0);
    vm.committer.run_pending();
    assert_eq!(vm.table.commits.take(), [[message(0)]]);

    let batch = vm.committer.batch();
    for round in 0..100 {
        guest(&mut msix).change_affinity(0, to_apic(round % 2, 0x51));
    }
    drop(batch);
    vm.committer.run_pending();
    assert_eq!(vm.table.commits.take(), [[to_apic(1, 0x51)]]);
    Producer::of(&guards[0]).signal();
    vm.fixture.cpus[1].expect(0x51);
}

#[test]
fn get_irqfd_of_an_open_vector_waits_for_its_commit_too() {
    let Some(vm) = Deferred::polled() else { return };
    let mut msix = vm.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    assert!(!vm.is_assigned(&guard));
    Producer::of(&guard).signal();
    assert!(guest(&mut msix).is_pending(0));
    vm.fixture.apic().expect_nothing();
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    vm.fixture.apic().expect(0x41);

    // The last guard takes what is counted back to signal mode, though the commit never came.
    drop(guard);
    assert_eq!(vm.fixture.apic().requested(), [0x41]);
    vm.fixture.apic().clear();
    vm.committer.run_pending();
    assert_eq!(vm.commits_of_kvm(), 0);
    assert!(!guest(&mut msix).is_pending(0));
    vm.fixture.apic().expect_nothing();
}

#[test]
fn flush_commits_and_waits_for_the_thread() {
    let Some(vm) = Deferred::spawned() else { return };
    let (mut msix, guards) = vm.function_on_descriptors(8);
    for round in 1_u8..=20 {
        for vector in 0..8 {
            guest(&mut msix).change_affinity(vector, to_apic(1, 0x40 + round));
        }
        msix.flush().unwrap();
        assert!(guards.iter().all(|guard| vm.is_assigned(guard)), "round {round}");
        Producer::of(&guards[usize::from(round % 8)]).signal();
        vm.fixture.cpus[1].expect(0x40 + round);
    }
}

#[test]
fn the_descriptor_of_an_immediate_committer_is_none_and_running_it_is_harmless() {
    let Some(vm) = Deferred::immediate() else { return };
    assert!(vm.committer.descriptor().is_none());
    let (mut msix, guards) = vm.function_on_descriptors(1);
    guest(&mut msix).unmask(0);
    assert!(vm.is_assigned(&guards[0]));
    vm.committer.run_pending();
    vm.committer.flush();
    assert_eq!(vm.commits_of_kvm(), 1);
    assert_eq!(Arc::strong_count(&vm.committer), 2);
}
