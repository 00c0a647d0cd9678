//! Failures of deferred commits come late: to their own vector, once, and not at all if the route is history (C11).

use std::error::Error;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use vm_msix::{MsixObserver, Route, Signal, VectorIndex};
use vm_msix_kvm::{Committer, Irqfd};

use crate::support::fixture::{Fixture, function};
use crate::support::gated::{Gated, Stop};
use crate::support::producer::{Producer, is_assigned};
use crate::support::tables::Failing;
use crate::support::taps::Log;
use crate::support::wait::until;
use crate::support::{Msix, guest, to_apic, unsynced};

/// What an observer is told of failures.
#[derive(Clone, Default)]
struct Failures(Log<u16>);

impl MsixObserver for Failures {
    fn route_failed(&self, vector: VectorIndex, _: &dyn Error) {
        self.0.push(vector.get());
    }
}

struct Rig {
    fixture: Fixture,
    failing: Arc<Failing>,
    gated: Arc<Gated>,
    committer: Arc<Committer>,
    msix: Msix<Failures>,
    failures: Failures,
    guards: Vec<Irqfd>,
}

impl Rig {
    /// Three vectors on descriptors, enabled, masked, with interrupts 0x41, 0x42 and 0x43; 0x42 is refused.
    fn new(spawn: bool, errno: i32) -> Option<Self> {
        let fixture = Fixture::new()?;
        let failing = Arc::new(Failing::new(fixture.router.clone()));
        failing.fail(0x42, errno);
        let gated = Arc::new(Gated::new(failing.clone()));
        let committer = if spawn { Committer::spawn } else { Committer::polled }(gated.clone());
        let committer = committer.unwrap();
        let failures = Failures::default();
        let msix = function(3, fixture.delivery_by(committer.clone()));
        let mut msix = msix.with_observer(failures.clone());
        let guards: Vec<_> = (0..3).map(|vector| msix.get_irqfd(vector).unwrap()).collect();
        guest(&mut msix).enable();
        for vector in 0..3 {
            guest(&mut msix).program(vector.into(), to_apic(0, 0x41 + vector));
        }
        Some(Self { fixture, failing, gated, committer, msix, failures, guards })
    }

    fn unmask_all(&mut self) {
        (0..3).for_each(|vector| guest(&mut self.msix).unmask(vector));
    }

    fn signal_all(&self) {
        self.guards.iter().for_each(|guard| Producer::of(guard).signal());
    }
}

#[test]
fn c11_a_route_that_is_refused_late_closes_its_own_vector_only() {
    for spawn in [false, true] {
        let Some(mut rig) = Rig::new(spawn, libc::EINVAL) else { return };
        rig.unmask_all();
        if !spawn {
            assert_eq!(rig.failures.0.take(), [] as [u16; 0]);
            assert_eq!(unsynced(&rig.msix), [] as [u16; 0]);
        }
        rig.signal_all();
        assert!(rig.msix.flush().is_err());
        assert_eq!(unsynced(&rig.msix), [1]);
        assert_eq!(rig.failures.0.take(), [1]);
        until("the good ones", || rig.fixture.apic().requested() == [0x41, 0x43]);
        assert!(guest(&mut rig.msix).is_pending(1));
        assert_eq!(rig.msix.trigger(1).unwrap(), Signal::Latched);

        // Neither told again nor tried again, for as long as the registers ask for the same.
        rig.gated.commits.take();
        guest(&mut rig.msix).mask(0);
        guest(&mut rig.msix).unmask(0);
        guest(&mut rig.msix).enable();
        assert!(rig.msix.flush().is_err());
        assert_eq!(rig.gated.commits.take(), [] as [Vec<_>; 0]);
        assert_eq!(rig.failures.0.take(), [] as [u16; 0]);
        assert!(guest(&mut rig.msix).is_pending(1));
        rig.fixture.apic().clear();

        // Another message: both signals go out as one.
        guest(&mut rig.msix).change_affinity(1, to_apic(1, 0x44));
        rig.msix.flush().unwrap();
        rig.fixture.cpus[1].expect(0x44);
        guest(&mut rig.msix).mask(1);
        rig.fixture.cpus[1].expect_nothing();
        assert!(!guest(&mut rig.msix).is_pending(1));
        rig.fixture.apic().expect_nothing();
        assert_eq!(rig.failures.0.take(), [] as [u16; 0]);
    }
}

/// Until the commit fails, triggers were sent; after it, they are latched, for the vector is closed for everybody.
#[test]
fn c4_c11_a_late_failure_closes_the_latch_in_memory_as_well() {
    let Some(mut rig) = Rig::new(false, libc::EINVAL) else { return };
    rig.unmask_all();
    assert_eq!(rig.msix.trigger(1).unwrap(), Signal::Sent);
    rig.committer.run_pending();
    rig.fixture.apic().clear();
    assert_eq!(rig.msix.trigger(1).unwrap(), Signal::Latched);
    rig.fixture.apic().expect_nothing();
    assert!(guest(&mut rig.msix).is_pending(1));
}

#[test]
fn c11_a_late_failure_for_want_of_memory_is_tried_again_by_flush() {
    let Some(mut rig) = Rig::new(false, libc::ENOMEM) else { return };
    rig.unmask_all();
    rig.signal_all();
    rig.committer.run_pending();
    rig.failing.relent();
    // A table write does not try again, and learns of the failure.
    guest(&mut rig.msix).mask(0);
    rig.committer.run_pending();
    assert_eq!(unsynced(&rig.msix), [1]);
    assert_eq!(rig.failures.0.take(), [1]);
    rig.fixture.apic().clear();
    rig.msix.flush().unwrap();
    rig.fixture.apic().expect(0x42);
    assert_eq!(rig.failures.0.take(), [] as [u16; 0]);
}

#[test]
fn c11_a_failure_of_a_route_that_was_replaced_is_nobodys() {
    let Some(mut rig) = Rig::new(true, libc::EINVAL) else { return };
    rig.gated.hold(Stop::After);
    guest(&mut rig.msix).unmask(1);
    rig.gated.wait_until_held();
    // Its failure is on the way.
    guest(&mut rig.msix).change_affinity(1, to_apic(1, 0x44));
    rig.gated.let_go();
    rig.msix.flush().unwrap();
    assert_eq!(rig.failures.0.take(), [] as [u16; 0]);
    Producer::of(&rig.guards[1]).signal();
    rig.fixture.cpus[1].expect(0x44);
}

#[test]
fn c11_a_failure_that_was_kept_is_dropped_when_the_route_is_replaced() {
    /// Replaces the route on another thread, after the function has looked for late events.
    struct Between(Work, Failures);
    type Work = Arc<std::sync::Mutex<Option<Arc<Committer>>>>;
    impl MsixObserver for Between {
        fn route_changed(&self, _: VectorIndex, _: Route) {
            if let Some(committer) = self.0.lock().unwrap().take() {
                std::thread::spawn(move || committer.run_pending()).join().unwrap();
            }
        }
        fn route_failed(&self, vector: VectorIndex, error: &dyn Error) {
            self.1.route_failed(vector, error);
        }
    }
    let Some(fixture) = Fixture::new() else { return };
    let failing = Arc::new(Failing::new(fixture.router.clone()));
    failing.fail(0x42, libc::EINVAL);
    let committer = Committer::polled(failing).unwrap();
    let (work, failures) = (Work::default(), Failures::default());
    let msix = function(1, fixture.delivery_by(committer.clone()));
    let mut msix = msix.with_observer(Between(work.clone(), failures.clone()));
    let guard = msix.get_irqfd(0).unwrap();
    guest(&mut msix).enable();
    guest(&mut msix).program(0, to_apic(0, 0x42));
    guest(&mut msix).unmask(0);
    // It fails inside of the write that replaces the route.
    *work.lock().unwrap() = Some(committer.clone());
    msix.write_msix_table(8, &0x43_u32.to_le_bytes());
    assert!(work.lock().unwrap().is_none());
    msix.flush().unwrap();
    assert_eq!(failures.0.take(), [] as [u16; 0]);
    Producer::of(&guard).signal();
    fixture.apic().expect(0x43);
}

/// KVM does not know another file by the eventfd's number, so that it cannot be deassigned.
#[test]
fn c11_an_irqfd_that_could_not_be_closed_with_its_last_guard_is_told_late_and_closed_by_the_next_write()
 {
    let Some(mut rig) = Rig::new(false, libc::EINVAL) else { return };
    guest(&mut rig.msix).unmask(0);
    rig.committer.run_pending();
    let guard = rig.guards.remove(0);
    let eventfd = Producer::of(&guard).into_eventfd();
    let number = guard.as_raw_fd();
    let null = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: both are numbers of open descriptors; the function's own is put back below.
    assert!(unsafe { libc::dup2(null.as_raw_fd(), number) } >= 0);
    drop(guard);
    // SAFETY: as above.
    assert!(unsafe { libc::dup2(eventfd.as_raw_fd(), number) } >= 0);
    assert!(is_assigned(&rig.fixture.vm, &eventfd));
    assert_eq!(rig.failures.0.take(), [] as [u16; 0]);

    // A write to any vector hears of it, and tries again.
    guest(&mut rig.msix).mask(2);
    rig.msix.flush().unwrap();
    assert_eq!(rig.failures.0.take(), [0]);
    assert!(!is_assigned(&rig.fixture.vm, &eventfd));
    assert_eq!(rig.fixture.router.gsis_in_use(), 2);
    assert_eq!(rig.msix.trigger(0).unwrap(), Signal::Sent);
    rig.fixture.apic().expect(0x41);
}
