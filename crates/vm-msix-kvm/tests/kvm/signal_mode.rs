//! Signal mode: the latch in memory, and `KVM_SIGNAL_MSI`.

use std::sync::Arc;

use vm_msix::{MsiMessage, Signal};
use vm_msix_kvm::LostMessages;

use crate::support::fixture::{Fixture, function};
use crate::support::tables::NoTable;
use crate::support::{guest, to_apic, unsynced};

#[test]
fn c1_an_open_vector_sends_to_the_apic_that_it_names() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(2);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_apic(1, 0x42)]);

    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(fixture.cpus[0].requested(), [0x41]);
    fixture.cpus[1].expect_nothing();

    assert_eq!(msix.trigger(1).unwrap(), Signal::Sent);
    assert_eq!(fixture.cpus[1].requested(), [0x42]);
    assert_eq!(msix.backend().lost_messages(), LostMessages::default());
}

#[test]
fn c3_what_a_masked_vector_latched_is_delivered_once() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    guest(&mut msix).mask(0);

    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Collapsed);
    assert!(guest(&mut msix).is_pending(0));
    fixture.apic().expect_nothing();

    guest(&mut msix).unmask(0);
    assert_eq!(fixture.apic().requested(), [0x41]);
    assert!(!guest(&mut msix).is_pending(0));

    fixture.apic().clear();
    guest(&mut msix).mask(0);
    guest(&mut msix).unmask(0);
    fixture.apic().expect_nothing();
}

#[test]
fn c5_what_was_latched_takes_the_message_that_the_vector_opens_to() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    guest(&mut msix).mask(0);
    msix.trigger(0).unwrap();
    guest(&mut msix).program(0, to_apic(1, 0x52));
    guest(&mut msix).unmask(0);

    fixture.cpus[0].expect_nothing();
    assert_eq!(fixture.cpus[1].requested(), [0x52]);
}

#[test]
fn c1_function_mask_enable_and_bus_master_close_every_vector() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(2);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_apic(0, 0x42)]);

    type Switch = fn(&mut crate::support::Msix);
    let switches: [(Switch, Switch); 3] = [
        (|msix| guest(msix).mask_function(), |msix| guest(msix).unmask_function()),
        (|msix| guest(msix).disable(), |msix| guest(msix).enable()),
        (|msix| msix.set_bus_master(false), |msix| msix.set_bus_master(true)),
    ];
    for (close, open) in switches {
        close(&mut msix);
        assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
        assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
        fixture.apic().expect_nothing();
        open(&mut msix);
        assert_eq!(fixture.apic().requested(), [0x41, 0x42]);
        fixture.apic().clear();
    }
}

#[test]
fn c6_a_retracted_signal_is_not_delivered() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    guest(&mut msix).mask(0);
    msix.trigger(0).unwrap();

    assert!(msix.retract(0).unwrap());
    assert!(!guest(&mut msix).is_pending(0));
    assert!(!msix.retract(0).unwrap());
    guest(&mut msix).unmask(0);
    fixture.apic().expect_nothing();
}

#[test]
fn c7_a_reset_forgets_what_was_latched() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    guest(&mut msix).mask(0);
    msix.trigger(0).unwrap();

    msix.reset();
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    fixture.apic().expect_nothing();
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(fixture.apic().requested(), [0x41]);
}

/// The table fails the test if it is asked. The VM has no interrupt controller at all, so a message sent would
/// be an error, and the vector unsynced.
#[test]
fn signal_mode_brings_up_2048_vectors_without_gsi_route_or_message() {
    let Some(kvm) = crate::support::open::kvm() else { return };
    let vm = Arc::new(kvm.create_vm().unwrap());
    let mut msix = function(
        2048,
        vm_msix_kvm::KvmMsi::new(vm, vm_msix_kvm::Committer::immediate(Arc::new(NoTable))),
    );
    let messages: Vec<_> =
        (0..2048_u32).map(|vector| MsiMessage::new(0xfee0_0000, 0x20 + vector % 0xc0)).collect();

    guest(&mut msix).bring_up(&messages);
    assert_eq!(unsynced(&msix), [] as [u16; 0]);
    guest(&mut msix).mask_function();
    guest(&mut msix).unmask_function();
    assert_eq!(unsynced(&msix), [] as [u16; 0]);
    msix.reset();

    // The proof that the VM would have told.
    guest(&mut msix).bring_up(&messages[..1]);
    assert!(msix.trigger(0).is_err());
}
