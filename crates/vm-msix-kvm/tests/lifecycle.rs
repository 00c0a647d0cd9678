//! Thousands of plugs and unplugs leave descriptors, GSIs, routes, threads and memory where they were (C7). A program of
//! its own, because it counts what the process has.

mod support;

use std::fs::{DirEntry, read_dir, read_to_string};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use support::deferred::Deferred;
use support::fixture::{Fixture, function};
use support::gated::{Gated, Stop};
use support::long::times;
use support::producer::Producer;
use support::wait::until;
use support::{guest, to_apic};
use vm_msix_kvm::{Committer, RouteTable as _};

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn descriptors() -> usize {
    read_dir("/proc/self/fd").unwrap().count()
}

/// Of the library: the test harness has threads of its own, which come and go.
fn threads() -> usize {
    let name =
        |task: std::io::Result<DirEntry>| read_to_string(task.ok()?.path().join("comm")).ok();
    let names = read_dir("/proc/self/task").unwrap().filter_map(name);
    names.filter(|name| name.starts_with("msix-")).count()
}

/// Resident pages, as bytes.
fn memory() -> i64 {
    let statm = read_to_string("/proc/self/statm").unwrap();
    4096 * statm.split(' ').nth(1).unwrap().parse::<i64>().unwrap()
}

/// A device's life: plugged, brought up, used, unplugged in one of the ways there are.
fn plug_and_unplug(vm: &Deferred, cycle: usize) {
    let mut msix = vm.function(2);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_apic(1, 0x42)]);
    let guards = [0, 1].map(|vector| msix.get_irqfd(vector).unwrap());
    match cycle % 8 {
        // Unplugged with openings in the queue, or in a commit.
        0 => drop(msix),
        1 => {
            msix.destroy();
            drop(guards);
            drop(msix);
        }
        2 => {
            drop(guards);
            drop(msix);
        }
        _ => {
            msix.flush().unwrap();
            Producer::of(&guards[0]).signal();
            vm.fixture.apic().expect(0x41);
            msix.trigger(1).unwrap();
            guest(&mut msix).mask(1);
            Producer::of(&guards[1]).signal();
            match cycle % 3 {
                0 => msix.reset(),
                1 => msix.destroy(),
                _ => {}
            }
        }
    }
}

/// A commit that all have been unplugged from: KVM's table, and the router's, as they are without them.
fn settle(vm: &Deferred) -> String {
    let gsi = vm.fixture.router.allocate().unwrap();
    vm.fixture.router.release(&[gsi]);
    let mut msix = vm.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x7f)]);
    let guard = msix.get_irqfd(0).unwrap();
    msix.flush().unwrap();
    drop(guard);
    drop(msix);
    vm.committer.flush();
    assert_eq!(vm.fixture.router.gsis_in_use(), 0);
    let table = format!("{:?} {:?}", vm.fixture.router, vm.committer);
    // The one that was committed just now.
    assert!(table.contains("routes: 1,"), "{table}");
    table
}

#[test]
fn c7_ten_thousand_plugs_and_unplugs_leave_everything_where_it_was() {
    const WARM_UP: usize = 1000;
    let (_alone, Some(vm)) = (alone(), Deferred::spawned()) else { return };
    (0..WARM_UP).for_each(|cycle| plug_and_unplug(&vm, cycle));
    let table = settle(&vm);
    let (had_descriptors, had_threads, had_memory) = (descriptors(), threads(), memory());
    // The table's log grows with each commit, and is the test's own.
    for cycle in 0..times(9000, 90_000) {
        plug_and_unplug(&vm, cycle);
        vm.table.commits.take();
    }
    assert_eq!(settle(&vm), table);
    until("descriptors to be where they were", || descriptors() == had_descriptors);
    until("threads to be where they were", || threads() == had_threads);
    let grown = memory() - had_memory;
    assert!(grown <= 1 << 20, "{grown} bytes more");
}

#[test]
fn committers_leave_no_thread_and_no_descriptor() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    let before = (descriptors(), threads());
    for cycle in 0..1000 {
        let committer = Committer::spawn(fixture.router.clone()).unwrap();
        if cycle % 4 == 0 {
            let mut msix = function(1, fixture.delivery_by(committer.clone()));
            guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
            let guard = msix.get_irqfd(0).unwrap();
            // The guard keeps the committer, and is the last to go.
            drop(committer);
            drop(msix);
            drop(guard);
        }
    }
    until("threads to be where they were", || threads() == before.1);
    assert_eq!(descriptors(), before.0);
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

/// The commit outlives its function, and is what keeps the committer: its own thread ends it.
#[test]
fn a_committer_whose_last_owner_is_its_own_thread_ends() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name().is_some_and(|name| name.starts_with("msix-")) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        hook(info);
    }));
    let before = (descriptors(), threads());
    for _ in 0..20 {
        let table = Arc::new(Gated::new(fixture.router.clone()));
        let committer = Committer::spawn(table.clone()).unwrap();
        let mut msix = function(1, fixture.delivery_by(committer.clone()));
        let guard = msix.get_irqfd(0).unwrap();
        table.hold(Stop::Before);
        guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
        table.wait_until_held();
        drop((committer, msix, guard));
        assert_eq!(threads(), before.1 + 1);
        table.let_go();
        until("the thread to end", || threads() == before.1);
        until("its descriptors to go", || descriptors() == before.0);
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

/// Those who close with the closing thread keep nothing of the function, nor of its committer.
#[test]
fn a_committers_thread_that_helped_a_close_keeps_neither_the_function_nor_itself() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    let before = (descriptors(), threads());
    for cycle in 0..times(50, 1000) {
        let committer = Committer::spawn(fixture.router.clone()).unwrap();
        let mut msix = function(64, fixture.delivery_by(committer));
        let guards: Vec<_> = (0..64).map(|vector| msix.get_irqfd(vector).unwrap()).collect();
        guest(&mut msix).bring_up(&[to_apic(0, 0x41); 64]);
        msix.flush().unwrap();
        guest(&mut msix).mask_function();
        if cycle % 2 == 0 {
            guest(&mut msix).unmask_function();
        }
        drop(msix);
        drop(guards);
        until("threads to be where they were", || threads() == before.1);
        until("descriptors to be where they were", || descriptors() == before.0);
    }
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

/// Polled vectors, too: the poll set keeps nothing.
#[test]
fn polled_descriptors_leave_nothing_behind() {
    let (_alone, Some(vm)) = (alone(), Deferred::spawned()) else { return };
    let taken: Vec<_> = std::iter::from_fn(|| vm.fixture.router.allocate().ok()).collect();
    // A thread has its name some time after it was made.
    until("the committer's thread", || threads() == 1);
    let before = (descriptors(), threads());
    for cycle in 0..times(500, 10_000) {
        let mut msix = vm.function(2);
        guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_apic(1, 0x42)]);
        let guards = [0, 1].map(|vector| msix.get_irqfd(vector).unwrap());
        assert_eq!(msix.backend().polled_vectors(), 2);
        guards.iter().for_each(|guard| Producer::of(guard).signal());
        if cycle % 2 == 0 {
            msix.destroy();
        }
    }
    until("descriptors to be where they were", || descriptors() == before.0);
    assert_eq!(threads(), before.1);
    vm.fixture.router.release(&taken);
    assert_eq!(vm.fixture.router.gsis_in_use(), 0);
}
