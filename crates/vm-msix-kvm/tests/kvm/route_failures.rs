//! Tables that refuse or run out: the vectors concerned stay closed and keep latching, the others work (C11).

use std::error::Error;
use std::sync::Arc;

use vm_msix::{MsixError, Signal};
use vm_msix_kvm::{KvmError, RouteTable};

use crate::support::fixture::{Fixture, function};
use crate::support::producer::{Producer, is_assigned};
use crate::support::tables::Failing;
use crate::support::{guest, to_apic, unsynced};

#[test]
fn get_irqfd_without_a_gsi_fails_and_the_vector_goes_on_in_signal_mode() {
    let Some(fixture) = Fixture::new() else { return };
    let table = Arc::new(Failing::new(fixture.router.clone()));
    let mut msix = function(1, fixture.delivery_with(table.clone()));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    table.run_out(true);

    let error = msix.get_irqfd(0).unwrap_err();
    assert!(matches!(error, MsixError::Irqfd { .. }), "{error}");
    let source = error.source().unwrap().downcast_ref::<KvmError>().unwrap();
    assert!(matches!(source, KvmError::GsisExhausted { limit: 24 }), "{source}");

    assert!(msix.flush().is_ok());
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(fixture.apic().requested(), [0x41]);
    assert_eq!(fixture.router.gsis_in_use(), 0);
    table.run_out(false);
    let _guard = msix.get_irqfd(0).unwrap();
    assert_eq!(fixture.router.gsis_in_use(), 1);
}

#[test]
fn get_irqfd_with_a_route_that_is_refused_fails_and_gives_the_gsi_back() {
    let Some(fixture) = Fixture::new() else { return };
    let table = Arc::new(Failing::new(fixture.router.clone()));
    let mut msix = function(1, fixture.delivery_with(table.clone()));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    table.fail(0x41, libc::EINVAL);

    assert!(matches!(msix.get_irqfd(0), Err(MsixError::Irqfd { .. })));
    assert_eq!(fixture.router.gsis_in_use(), 0);
    assert!(msix.flush().is_ok());
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(fixture.apic().requested(), [0x41]);
}

/// A real router with every GSI taken: 4096 less the 40 entries that are the VMM's own.
#[test]
fn every_gsi_is_lent_before_one_is_refused() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(2);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(1).unwrap();
    // A reset gives the GSI back, and leaves the vector its descriptor.
    msix.reset();
    let taken: Vec<_> = std::iter::from_fn(|| fixture.router.allocate().ok()).collect();
    assert_eq!(taken.len(), 4096 - 40);

    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    assert!(msix.get_irqfd(0).is_err());
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    fixture.apic().clear();

    // A vector that needs its GSI again when it opens: closed, latching, listed.
    guest(&mut msix).program(1, to_apic(0, 0x42));
    guest(&mut msix).unmask(1);
    Producer::of(&guard).signal();
    assert_eq!(unsynced(&msix), [1]);
    assert!(guest(&mut msix).is_pending(1));
    assert!(msix.flush().is_err());

    // With room again, a guest's table writes try nothing, a flush does.
    fixture.router.release(&taken);
    guest(&mut msix).mask(0);
    guest(&mut msix).unmask(0);
    assert_eq!(unsynced(&msix), [1]);
    assert!(msix.flush().is_ok());
    fixture.apic().expect(0x42);
}

#[test]
fn c11_a_route_refused_while_opening_closes_its_own_vector_only() {
    let Some(fixture) = Fixture::new() else { return };
    let table = Arc::new(Failing::new(fixture.router.clone()));
    let mut msix = function(3, fixture.delivery_with(table.clone()));
    let guards: Vec<_> = (0..3).map(|vector| msix.get_irqfd(vector).unwrap()).collect();
    table.fail(0x42, libc::EINVAL);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_apic(0, 0x42), to_apic(0, 0x43)]);

    assert_eq!(unsynced(&msix), [1]);
    guards.iter().for_each(|guard| Producer::of(guard).signal());
    crate::support::wait::until("the good ones", || fixture.apic().requested() == [0x41, 0x43]);
    assert!(guest(&mut msix).is_pending(1));

    // A refusal stands until the message is another: neither flush nor Message Control tries again.
    table.relent();
    assert!(msix.flush().is_err());
    guest(&mut msix).mask_function();
    fixture.apic().clear();
    table.fail(0x42, libc::EINVAL);
    guest(&mut msix).unmask_function();
    assert_eq!(unsynced(&msix), [1]);
    guest(&mut msix).change_affinity(1, to_apic(1, 0x44));
    fixture.cpus[1].expect(0x44);
    assert!(msix.flush().is_ok());
    fixture.apic().expect_nothing();
}

#[test]
fn c11_a_route_that_fails_for_want_of_memory_is_tried_again_by_flush() {
    let Some(fixture) = Fixture::new() else { return };
    let table = Arc::new(Failing::new(fixture.router.clone()));
    let mut msix = function(1, fixture.delivery_with(table.clone()));
    let guard = msix.get_irqfd(0).unwrap();
    table.fail(0x41, libc::ENOMEM);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    Producer::of(&guard).signal();
    assert_eq!(unsynced(&msix), [0]);
    assert!(msix.flush().is_err());

    table.relent();
    assert!(msix.flush().is_ok());
    fixture.apic().expect(0x41);
}

/// KVM's own refusal of an irqfd: somebody else has put the eventfd on a GSI already.
#[test]
fn c11_an_irqfd_that_cannot_be_assigned_leaves_its_vector_closed_until_it_can() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(2);
    let guard = msix.get_irqfd(0).unwrap();
    let eventfd = Producer::of(&guard).into_eventfd();
    fixture.vm.register_irqfd(&eventfd, 4095).unwrap();
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_apic(0, 0x42)]);

    assert_eq!(unsynced(&msix), [0]);
    assert_eq!(msix.trigger(1).unwrap(), Signal::Sent);
    fixture.vm.unregister_irqfd(&eventfd, 4095).unwrap();
    Producer::of(&guard).signal();
    assert!(guest(&mut msix).is_pending(0));
    fixture.apic().expect(0x42);

    assert!(msix.flush().is_ok());
    fixture.apic().expect(0x41);
    assert!(is_assigned(&fixture.vm, &eventfd));
}
