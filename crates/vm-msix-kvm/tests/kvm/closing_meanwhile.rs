//! Closing while a commit is held up inside the table: it waits for nothing, and cancels what was queued (C4, C5).

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use vm_msix_kvm::{Committer, Irqfd, MsiRoute, RequesterId, RouteTable, Router, RouterObserver};
use vmm_sys_util::eventfd::EventFd;

use crate::support::deferred::{Deferred, eventfd, message};
use crate::support::fixture::{Fixture, function};
use crate::support::gated::Stop;
use crate::support::lapic::Lapic;
use crate::support::producer::{Producer, is_assigned};
use crate::support::wait::until;
use crate::support::{Msix, guest, to_apic};

const STOPS: [Stop; 2] = [Stop::Before, Stop::After];

/// Runs it on a thread of its own, and fails if it is not done while the commit is held up.
#[track_caller]
fn must_return<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(work()));
    let answer = told.recv_timeout(Duration::from_secs(60));
    answer.unwrap_or_else(|_| panic!("{what} waits for a commit"))
}

/// A function of two vectors on descriptors, whose first is being committed, and the second was before.
fn in_a_commit(stop: Stop) -> Option<(Deferred, Msix, Vec<Irqfd>)> {
    let vm = Deferred::spawned()?;
    let (mut msix, guards) = vm.function_on_descriptors(2);
    guest(&mut msix).unmask(1);
    msix.flush().unwrap();
    vm.table.hold(stop);
    guest(&mut msix).unmask(0);
    vm.table.wait_until_held();
    Some((vm, msix, guards))
}

/// Nothing of vector 0 was attached by the commit that went on, and nothing was delivered by it.
#[track_caller]
fn expect_cancelled(vm: &Deferred, first: &EventFd, what: &str) {
    vm.table.let_go();
    vm.committer.flush();
    vm.fixture.apic().expect_nothing();
    assert!(!is_assigned(&vm.fixture.vm, first), "{what}");
    vm.fixture.apic().expect_nothing();
}

/// Closes, with a signal counted, while the commit is held up.
fn expect_to_cancel(what: &'static str, close: impl Fn(&mut Msix) + Copy + Send + 'static) {
    for stop in STOPS {
        let Some((vm, mut msix, guards)) = in_a_commit(stop) else { return };
        Producer::of(&guards[0]).signal();
        let mut msix = must_return(what, move || {
            close(&mut msix);
            msix
        });
        let first = eventfd(&guards[0]);
        Producer::of(&guards[0]).signal();
        expect_cancelled(&vm, &first, what);
        // Assigned by nobody, so it is counted: a close cannot lose it.
        Producer::of(&guards[0]).signal();
        assert!(guest(&mut msix).is_pending(0), "{what}");
    }
}

#[test]
fn c4_masking_a_vector_waits_for_no_commit_and_cancels_its_own() {
    expect_to_cancel("mask", |msix| guest(msix).mask(0));
}

#[test]
fn c4_function_mask_disable_and_bus_master_too() {
    expect_to_cancel("Function Mask", |msix| guest(msix).mask_function());
    expect_to_cancel("disable", |msix| guest(msix).disable());
    expect_to_cancel("bus master", |msix| msix.set_bus_master(false));
}

#[test]
fn c7_reset_waits_for_no_commit() {
    expect_to_cancel("reset", Msix::reset);
}

#[test]
fn c14_pausing_waits_for_no_commit() {
    expect_to_cancel("pause", Msix::pause);
}

#[test]
fn c7_destroying_the_function_waits_for_no_commit() {
    expect_to_cancel("destroy", Msix::destroy);
}

#[test]
fn c7_dropping_the_function_waits_for_no_commit() {
    for stop in STOPS {
        let Some((vm, msix, guards)) = in_a_commit(stop) else { return };
        must_return("drop of the function", move || drop(msix));
        Producer::of(&guards[0]).signal();
        expect_cancelled(&vm, &eventfd(&guards[0]), "drop of the function");
        assert!(!vm.is_assigned(&guards[1]));
        drop(guards);
        assert_eq!(vm.fixture.router.gsis_in_use(), 0);
    }
}

#[test]
fn the_last_guard_waits_for_no_commit() {
    for stop in STOPS {
        let Some((vm, msix, mut guards)) = in_a_commit(stop) else { return };
        let guard = guards.remove(0);
        let (producer, first) = (Producer::of(&guard), eventfd(&guard));
        must_return("drop of the guard", move || drop(guard));
        producer.signal();
        expect_cancelled(&vm, &first, "drop of the guard");
        assert!(vm.is_assigned(&guards[0]));
        // Open as ever, in signal mode.
        msix.trigger(0).unwrap();
        assert_eq!(vm.fixture.apic().requested(), [0x40]);
        assert_eq!(vm.fixture.router.gsis_in_use(), 1);
    }
}

#[test]
fn c3_reading_the_pba_triggering_and_other_vectors_wait_for_no_commit() {
    for stop in STOPS {
        let Some((vm, mut msix, mut guards)) = in_a_commit(stop) else { return };
        Producer::of(&guards[0]).signal();
        let producer = Producer::of(&guards[1]);
        let (mut msix, guard) = must_return("PBA, trigger, get_irqfd", move || {
            assert!(guest(&mut msix).is_pending(0));
            msix.trigger(1).unwrap();
            // Of another vector's: closed, opened again with the route that it had.
            guest(&mut msix).mask(1);
            guest(&mut msix).unmask(1);
            let guard = msix.get_irqfd(1).unwrap();
            (msix, guard)
        });
        guards.push(guard);
        assert!(vm.is_assigned(&guards[1]));
        vm.fixture.apic().clear();
        producer.signal();
        vm.fixture.apic().expect(0x41);
        vm.table.let_go();
        vm.fixture.apic().expect(0x40);
        assert!(!guest(&mut msix).is_pending(0));
    }
}

#[test]
fn get_irqfd_of_a_vector_without_one_waits_for_no_commit() {
    for stop in STOPS {
        let Some((vm, _msix, _guards)) = in_a_commit(stop) else { return };
        let mut other = vm.function(1);
        guest(&mut other).bring_up(&[to_apic(1, 0x61)]);
        let guard = must_return("get_irqfd", move || {
            let guard = other.get_irqfd(0).unwrap();
            (other, guard)
        });
        Producer::of(&guard.1).signal();
        vm.fixture.cpus[1].expect_nothing();
        vm.table.let_go();
        vm.fixture.cpus[1].expect(0x61);
    }
}

/// Who would help with it is held up, and is not waited for.
#[test]
fn c4_closing_many_waits_for_no_commit() {
    for stop in STOPS {
        let Some(vm) = Deferred::spawned() else { return };
        let (mut msix, guards) = vm.function_on_descriptors(41);
        (1..41).for_each(|vector| guest(&mut msix).unmask(vector));
        msix.flush().unwrap();
        vm.table.hold(stop);
        guest(&mut msix).unmask(0);
        vm.table.wait_until_held();
        let mut msix = must_return("Function Mask", move || {
            guest(&mut msix).mask_function();
            msix
        });
        assert!(!guards.iter().any(|guard| vm.is_assigned(guard)));
        vm.table.let_go();
        guards.iter().for_each(|guard| Producer::of(guard).signal());
        assert!((0..41).all(|vector| guest(&mut msix).is_pending(vector)));
        vm.committer.flush();
        vm.fixture.apic().expect_nothing();
        guest(&mut msix).unmask_function();
        msix.flush().unwrap();
        assert!(guards.iter().all(|guard| vm.is_assigned(guard)));
    }
}

/// A commit that goes on may name a GSI that was given back since. Whoever has it next has its own route, and keeps it.
#[test]
fn c5_a_commit_for_nobody_leaves_the_next_owner_of_its_gsi_alone() {
    let Some(vm) = Deferred::spawned() else { return };
    let (mut msix, guards) = vm.function_on_descriptors(1);
    vm.table.hold(Stop::Before);
    guest(&mut msix).unmask(0);
    vm.table.wait_until_held();
    drop(guards);
    // The VMM's own.
    let router = &vm.fixture.router;
    let (gsi, theirs) = (router.allocate().unwrap(), EventFd::new(libc::EFD_NONBLOCK).unwrap());
    let route = MsiRoute { message: to_apic(1, 0x77), requester: RequesterId::default() };
    router.set(&[(gsi, route)], &mut |_, error| panic!("{error}"));
    vm.fixture.vm.register_irqfd(&theirs, gsi.0).unwrap();
    vm.table.let_go();
    vm.committer.flush();
    theirs.write(1).unwrap();
    let requested = || vm.fixture.cpus.iter().map(Lapic::requested).collect::<Vec<_>>();
    until("an interrupt", || requested() != [[], []]);
    assert_eq!(requested(), [vec![], vec![0x77]]);
    vm.fixture.vm.unregister_irqfd(&theirs, gsi.0).unwrap();
    router.release(&[gsi]);
    assert_eq!(router.gsis_in_use(), 0);
}

/// Held up inside the router itself, which has its table locked then.
#[test]
fn c4_c7_the_router_takes_and_gives_gsis_while_it_commits() {
    struct Slow(Mutex<mpsc::Receiver<()>>, mpsc::Sender<()>);
    impl RouterObserver for Slow {
        fn committed(&self, _: usize, _: usize) {
            let _ = self.1.send(());
            // Gone: the test is over.
            let _ = self.0.lock().unwrap().recv();
        }
    }
    let Some(mut fixture) = Fixture::new() else { return };
    let ((go, gone), (begin, begun)) = (mpsc::channel(), mpsc::channel());
    let router = Router::new(fixture.vm.clone(), Router::irqchip_entries());
    let router = Arc::new(router.with_observer(Slow(Mutex::new(gone), begin)));
    fixture.router = router.clone();
    let mut msix = function(3, fixture.delivery_by(Committer::spawn(router.clone()).unwrap()));
    let guards: Vec<_> = (0..2).map(|vector| msix.get_irqfd(vector).unwrap()).collect();
    let eventfds: Vec<_> = guards.iter().map(eventfd).collect();
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    begun.recv().unwrap();
    must_return("taking and giving GSIs", move || {
        let third = msix.get_irqfd(2).unwrap();
        drop(guards);
        msix.reset();
        drop((msix, third));
    });
    // The commit may name them, so nobody else gets them before its end.
    assert_eq!(fixture.router.gsis_in_use(), 3);
    drop(go);
    until("the committer to end", || Arc::strong_count(&router) == 2);
    assert_eq!(fixture.router.gsis_in_use(), 0);
    assert!(!eventfds.iter().any(|eventfd| is_assigned(&fixture.vm, eventfd)));
    fixture.apic().expect_nothing();
}

/// Committed with one message, queued with another, and back to the first while the other's commit runs: what the table has
/// is not what the vector had it set to.
#[test]
fn c5_back_to_the_first_message_while_another_is_committed_delivers_the_first() {
    for stop in STOPS {
        let Some(vm) = Deferred::spawned() else { return };
        let (mut msix, guards) = vm.function_on_descriptors(1);
        guest(&mut msix).unmask(0);
        msix.flush().unwrap();
        vm.table.hold(stop);
        guest(&mut msix).change_affinity(0, to_apic(1, 0x51));
        vm.table.wait_until_held();

        let mut msix = must_return("mask", move || {
            guest(&mut msix).change_affinity(0, message(0));
            msix
        });
        Producer::of(&guards[0]).signal();
        assert!(guest(&mut msix).is_pending(0));
        vm.fixture.apic().expect_nothing();
        vm.table.let_go();
        vm.fixture.apic().expect(0x40);
        for _ in 0..20 {
            Producer::of(&guards[0]).signal();
            vm.fixture.apic().expect(0x40);
        }
        vm.fixture.cpus[1].expect_nothing();
        assert!(msix.flush().is_ok());
    }
}

#[test]
fn c5_of_messages_rewritten_while_a_commit_runs_only_the_newest_is_delivered() {
    for stop in STOPS {
        let Some(vm) = Deferred::spawned() else { return };
        let (mut msix, guards) = vm.function_on_descriptors(1);
        vm.table.hold(stop);
        guest(&mut msix).unmask(0);
        vm.table.wait_until_held();
        let producer = Producer::of(&guards[0]);
        let mut msix = must_return("rewriting", move || {
            for vector in 0x51..=0x5a {
                guest(&mut msix).change_affinity(0, to_apic(1, vector));
            }
            msix
        });
        producer.signal();
        vm.table.commits.take();
        vm.table.let_go();
        vm.fixture.cpus[1].expect(0x5a);
        msix.flush().unwrap();
        assert_eq!(vm.table.commits.take(), [[to_apic(1, 0x5a)]]);
        producer.signal();
        vm.fixture.cpus[1].expect(0x5a);
        vm.fixture.apic().expect_nothing();
        guest(&mut msix).mask(0);
        vm.fixture.cpus[1].expect_nothing();
    }
}
