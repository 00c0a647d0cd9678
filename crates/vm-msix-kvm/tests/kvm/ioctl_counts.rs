//! The counters of ioctls tell what was done, no more and no less.

use std::sync::Arc;

use vm_msix::MsiMessage;
use vm_msix_kvm::{IoctlCounters, IoctlCounts, MsiRoute, RequesterId, RouteTable, Router};

use crate::support::deferred::Deferred;
use crate::support::fixture::Fixture;
use crate::support::tables::NoTable;
use crate::support::{guest, to_apic, to_memory};

/// Counts since the last look.
struct Since<'a>(&'a IoctlCounters, IoctlCounts);

impl<'a> Since<'a> {
    fn now(counters: &'a IoctlCounters) -> Self {
        Self(counters, counters.counts())
    }

    /// So many commits, assigns, deassigns and messages.
    #[track_caller]
    fn expect(&mut self, expected: [u64; 4]) {
        let (now, then) = (self.0.counts(), self.1);
        let found = [
            now.set_gsi_routing - then.set_gsi_routing,
            now.irqfd_assign - then.irqfd_assign,
            now.irqfd_deassign - then.irqfd_deassign,
            now.signal_msi - then.signal_msi,
        ];
        assert_eq!(found, expected);
        self.1 = now;
    }
}

#[test]
fn signal_mode_makes_one_ioctl_for_each_message_and_no_other() {
    let Some(fixture) = Fixture::new() else { return };
    let counters = Arc::new(IoctlCounters::default());
    let delivery = fixture.delivery_with(Arc::new(NoTable)).with_ioctl_counters(counters.clone());
    let mut msix = crate::support::fixture::function(2, delivery);
    let mut since = Since::now(&counters);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_memory(7)]);
    guest(&mut msix).mask_function();
    guest(&mut msix).unmask_function();
    guest(&mut msix).change_affinity(0, to_apic(1, 0x42));
    since.expect([0, 0, 0, 0]);
    (0..7).for_each(|_| assert!(msix.trigger(0).is_ok()));
    since.expect([0, 0, 0, 7]);
    // To memory: no business of KVM's.
    (0..7).for_each(|_| assert!(msix.trigger(1).is_ok()));
    since.expect([0, 0, 0, 0]);
    guest(&mut msix).mask(0);
    (0..7).for_each(|_| assert!(msix.trigger(0).is_ok()));
    since.expect([0, 0, 0, 0]);
    guest(&mut msix).unmask(0);
    since.expect([0, 0, 0, 1]);
    msix.snapshot();
    msix.reset();
    drop(msix);
    since.expect([0, 0, 0, 0]);
}

#[test]
fn irqfd_mode_makes_one_ioctl_for_each_step_that_it_takes() {
    for vm in [Deferred::polled(), Deferred::immediate()] {
        let Some(vm) = vm else { return };
        let mut since = Since::now(&vm.counters);
        let (mut msix, mut guards) = vm.function_on_descriptors(3);
        since.expect([0, 0, 0, 0]);
        guest(&mut msix).unmask(0);
        vm.committer.run_pending();
        since.expect([1, 1, 0, 0]);
        (0..5).for_each(|_| guest(&mut msix).unmask(0));
        vm.committer.run_pending();
        since.expect([0, 0, 0, 0]);
        for _ in 0..5 {
            guest(&mut msix).mask(0);
            guest(&mut msix).unmask(0);
        }
        since.expect([0, 5, 5, 0]);
        guest(&mut msix).change_affinity(0, to_apic(1, 0x77));
        vm.committer.run_pending();
        since.expect([1, 1, 1, 0]);
        let batch = vm.committer.batch();
        guest(&mut msix).unmask(1);
        guest(&mut msix).unmask(2);
        drop(batch);
        vm.committer.run_pending();
        since.expect([1, 2, 0, 0]);
        guest(&mut msix).mask_function();
        guest(&mut msix).unmask_function();
        since.expect([0, 3, 3, 0]);
        msix.trigger(0).unwrap();
        since.expect([0, 0, 0, 1]);
        guards.pop();
        since.expect([0, 0, 1, 0]);
        msix.swap_irqfds(0, 1).unwrap();
        vm.committer.run_pending();
        since.expect([1, 2, 2, 0]);
        msix.reset();
        since.expect([0, 0, 2, 0]);
        drop(guards);
        drop(msix);
        since.expect([0, 0, 0, 0]);
        assert_eq!(vm.table.commits.take().len() as u64, vm.commits_of_kvm());
    }
}

/// As many as many vectors make, also where many threads close.
#[test]
fn irqfd_mode_counts_what_helpers_do() {
    let Some(vm) = Deferred::spawned() else { return };
    let (mut msix, _guards) = vm.function_on_descriptors(200);
    guest(&mut msix).mask_function();
    (0..200).for_each(|vector| guest(&mut msix).unmask(vector));
    let mut since = Since::now(&vm.counters);
    for round in 0..5 {
        guest(&mut msix).unmask_function();
        msix.flush().unwrap();
        guest(&mut msix).mask_function();
        since.expect([u64::from(round == 0), 200, 200, 0]);
    }
}

/// KVM refuses the table for one entry, which is found by halves: 4, 2 good, 2, 1 good, 1.
#[test]
fn a_refused_commit_counts_with_those_that_look_for_the_culprit() {
    let Some(fixture) = Fixture::with_32_bit_ids() else { return };
    let counters = Arc::new(IoctlCounters::default());
    let router = Router::new(fixture.vm.clone(), Router::irqchip_entries());
    let router = router.with_ioctl_counters(counters.clone());
    let route = |message| MsiRoute { message, requester: RequesterId(0) };
    let mut routes: Vec<_> = (0..4)
        .map(|vector| (router.allocate().unwrap(), route(to_apic(0, 0x41 + vector))))
        .collect();
    routes[3].1 = route(MsiMessage::new(0x1_fee0_0000, 0x44));
    let mut failed = Vec::new();
    router.set(&routes, &mut |gsi, _| failed.push(gsi));
    assert_eq!(failed, [routes[3].0]);
    assert_eq!(counters.counts(), IoctlCounts { set_gsi_routing: 5, ..Default::default() });
    // What the table has already is no commit.
    router.set(&routes[..3], &mut |_, error| panic!("{error}"));
    router.set(&[], &mut |_, error| panic!("{error}"));
    assert_eq!(counters.counts().set_gsi_routing, 5);
}
