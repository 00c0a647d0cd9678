//! What an observer may do in the midst of a register write: nothing is told while a lock is held. And what a hook may not
//! do, and does: it hurts nobody else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use vm_msix::{MsiMessage, MsixObserver, VectorIndex};
use vm_msix_kvm::{Committer, Irqfd, RequesterId, Translate};

use crate::support::fixture::{Fixture, function};
use crate::support::producer::Producer;
use crate::support::tables::Failing;
use crate::support::wait::until;
use crate::support::{guest, to_apic};

/// Lets go of a descriptor as soon as something of its vector is delivered.
#[derive(Default)]
struct LetGo(Mutex<Option<Irqfd>>);

impl MsixObserver for LetGo {
    fn delivered(&self, _vector: VectorIndex) {
        self.0.lock().unwrap().take();
    }
}

#[test]
fn an_observer_may_drop_a_guard() {
    let Some(fixture) = Fixture::new() else { return };
    let observer = Arc::new(LetGo::default());
    let mut msix = fixture.function(1).with_observer(observer.clone());
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    guest(&mut msix).mask(0);
    let guard = msix.get_irqfd(0).unwrap();
    Producer::of(&guard).signal();
    *observer.0.lock().unwrap() = Some(guard);

    guest(&mut msix).unmask(0);
    assert!(observer.0.lock().unwrap().is_none());
    assert_eq!(fixture.apic().requested(), [0x41]);
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

/// Panics when told to, once.
#[derive(Clone, Default)]
struct Panics(Arc<AtomicBool>);

impl Translate for Panics {
    fn translate(&self, _: RequesterId, message: MsiMessage) -> Option<MsiMessage> {
        assert!(!self.0.swap(false, Ordering::AcqRel), "told to panic");
        Some(message)
    }
}

/// The thread asks the hook when it passes on what comes into a polled eventfd.
#[test]
fn c11_a_hook_that_panics_on_the_committers_thread_leaves_other_functions_alone() {
    let Some(fixture) = Fixture::new() else { return };
    let table = Arc::new(Failing::new(fixture.router.clone()));
    let committer = Committer::spawn(table.clone()).unwrap();
    let panics = Panics::default();
    let delivery = fixture.delivery_by(committer.clone());
    let mut msix = function(1, delivery.clone().with_translate(panics.clone()));
    let mut other = function(1, delivery);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    guest(&mut other).bring_up(&[to_apic(0, 0x42)]);
    table.run_out(true);
    let guard = msix.get_irqfd(0).unwrap();
    table.run_out(false);
    panics.0.store(true, Ordering::Release);
    Producer::of(&guard).signal();
    until("the panic", || !panics.0.load(Ordering::Acquire));
    let theirs = other.get_irqfd(0).unwrap();
    Producer::of(&theirs).signal();
    fixture.apic().expect(0x42);
}
