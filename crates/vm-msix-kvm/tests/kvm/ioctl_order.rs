//! The legal order: route, then assign; deassign, then release. And how often the table is asked.

use std::sync::Arc;

use kvm_ioctls::VmFd;
use vm_msix::{MsiMessage, Signal};
use vm_msix_kvm::Irqfd;
use vmm_sys_util::eventfd::EventFd;

use crate::support::fixture::{Fixture, function};
use crate::support::producer::{Producer, is_assigned};
use crate::support::tables::{Asked, Watched};
use crate::support::taps::Log;
use crate::support::wait::until;
use crate::support::{Msix, guest, to_apic};

/// A function whose vectors are all on descriptors, with a table that looks, at each request, whether KVM listens to
/// one of them.
struct Rig {
    fixture: Fixture,
    table: Arc<Watched>,
    msix: Msix,
    guards: Vec<Irqfd>,
    eventfds: Arc<Vec<EventFd>>,
    /// Requests made while an irqfd was live. In these tests a request concerns every vector of the function.
    illegal: Log<Asked>,
}

impl Rig {
    fn new(vectors: u16) -> Option<Self> {
        let fixture = Fixture::new()?;
        let table = Arc::new(Watched::new(fixture.router.clone()));
        let msix = function(vectors, fixture.delivery_with(table.clone()));
        let guards: Vec<_> =
            (0..vectors).map(|vector| msix.get_irqfd(vector.into()).unwrap()).collect();
        let eventfds: Arc<Vec<_>> =
            Arc::new(guards.iter().map(|guard| Producer::of(guard).into_eventfd()).collect());
        let illegal = Log::default();
        let rig = Self { fixture, table, msix, guards, eventfds, illegal };
        let (vm, eventfds, illegal) =
            (rig.fixture.vm.clone(), rig.eventfds.clone(), rig.illegal.clone());
        rig.table.inspect(move |asked| {
            if assigned(&vm, &eventfds).contains(&true) {
                illegal.push(asked.clone());
            }
        });
        Some(rig)
    }

    fn assigned(&self) -> Vec<bool> {
        assigned(&self.fixture.vm, &self.eventfds)
    }

    /// Programs every vector and opens them all at once.
    fn open(&mut self, messages: &[MsiMessage]) {
        for (vector, message) in (0..).zip(messages) {
            guest(&mut self.msix).program(vector, *message);
            guest(&mut self.msix).unmask(vector);
        }
        guest(&mut self.msix).enable();
    }
}

fn assigned(vm: &VmFd, eventfds: &[EventFd]) -> Vec<bool> {
    eventfds.iter().map(|eventfd| is_assigned(vm, eventfd)).collect()
}

#[test]
fn a_batch_is_one_commit_before_any_irqfd_is_assigned() {
    let Some(mut rig) = Rig::new(3) else { return };
    let messages = [to_apic(0, 0x41), to_apic(1, 0x42), to_apic(0, 0x43)];
    rig.table.log.take();
    assert_eq!(rig.assigned(), [false; 3]);

    rig.open(&messages);
    let set: Vec<_> = rig.table.log.take();
    let [Asked::Set(routes)] = &set[..] else { panic!("{set:?}") };
    assert_eq!(routes.iter().map(|(_, message)| *message).collect::<Vec<_>>(), messages);
    assert_eq!(rig.assigned(), [true; 3]);
    assert_eq!(rig.illegal.take(), []);
    rig.guards.iter().for_each(|guard| Producer::of(guard).signal());
    until("the interrupts", || rig.fixture.cpus[0].requested() == [0x41, 0x43]);
    rig.fixture.cpus[1].expect(0x42);
}

#[test]
fn closing_keeps_the_route_and_release_comes_after_deassign() {
    let Some(mut rig) = Rig::new(1) else { return };
    rig.open(&[to_apic(0, 0x41)]);
    let asked = rig.table.log.take();
    let [Asked::Allocate(gsi), Asked::Set(_)] = asked[..] else { panic!("{asked:?}") };

    guest(&mut rig.msix).mask(0);
    guest(&mut rig.msix).disable();
    assert_eq!(rig.table.log.take(), []);
    guest(&mut rig.msix).enable();
    guest(&mut rig.msix).unmask(0);
    // The same route on the same GSI: the table is not even asked.
    assert_eq!(rig.table.log.take(), []);
    assert_eq!(rig.assigned(), [true]);

    rig.msix.reset();
    assert_eq!(rig.table.log.take(), [Asked::Release(vec![gsi])]);
    assert_eq!(rig.assigned(), [false]);
    assert_eq!(rig.illegal.take(), []);
}

#[test]
fn another_message_is_set_while_nothing_is_assigned() {
    let Some(mut rig) = Rig::new(1) else { return };
    rig.open(&[to_apic(0, 0x41)]);
    rig.table.log.take();

    // An open vector rewritten, which a guest may do: deassigned, set anew, assigned.
    guest(&mut rig.msix).program(0, to_apic(1, 0x52));
    let sets = rig.table.log.take();
    assert!(sets.iter().all(|asked| matches!(asked, Asked::Set(_))), "{sets:?}");
    assert_eq!(rig.assigned(), [true]);
    assert_eq!(rig.illegal.take(), []);
    rig.msix.trigger(0).unwrap();
    rig.fixture.cpus[1].expect(0x52);
    rig.fixture.cpus[0].expect_nothing();
}

#[test]
fn the_last_guard_releases_after_deassign() {
    let Some(mut rig) = Rig::new(1) else { return };
    rig.open(&[to_apic(0, 0x41)]);
    let asked = rig.table.log.take();
    let [Asked::Allocate(gsi), Asked::Set(_)] = asked[..] else { panic!("{asked:?}") };

    rig.guards.clear();
    assert_eq!(rig.table.log.take(), [Asked::Release(vec![gsi])]);
    assert_eq!(rig.assigned(), [false]);
    assert_eq!(rig.illegal.take(), []);
    assert_eq!(rig.msix.trigger(0).unwrap(), Signal::Sent);
}

#[test]
fn the_end_of_the_function_releases_after_deassign() {
    let Some(mut rig) = Rig::new(2) else { return };
    rig.open(&[to_apic(0, 0x41), to_apic(0, 0x42)]);
    rig.table.log.take();
    assert_eq!(rig.assigned(), [true; 2]);
    let Rig { table, msix, guards, eventfds, fixture, illegal } = rig;
    drop(msix);
    let released = table.log.take();
    let [Asked::Release(gsis)] = &released[..] else { panic!("{released:?}") };
    assert_eq!(gsis.len(), 2);
    assert_eq!(assigned(&fixture.vm, &eventfds), [false; 2]);
    drop(guards);
    assert_eq!(table.log.take(), []);
    assert_eq!(illegal.take(), []);
}
