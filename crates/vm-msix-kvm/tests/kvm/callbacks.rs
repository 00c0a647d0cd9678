//! What an observer may do in the midst of a register write: nothing is told while a lock is held.

use std::sync::{Arc, Mutex};

use vm_msix::{MsixObserver, VectorIndex};
use vm_msix_kvm::Irqfd;

use crate::support::fixture::Fixture;
use crate::support::producer::Producer;
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
