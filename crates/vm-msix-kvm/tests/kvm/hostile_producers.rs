//! What a producer can do to a descriptor that it shares, and what it cannot do by that (C4, C10).

use vm_msix::Signal;
use vm_msix_kvm::{ExtendedDestinationId, KvmError};

use crate::support::fixture::{Fixture, function};
use crate::support::producer::{Producer, make_blocking};
use crate::support::{guest, to_apic, unsynced};

/// Flags belong to everybody who has the descriptor.
#[test]
fn a_descriptor_made_blocking_holds_no_register_write() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    make_blocking(&guard);
    let producer = Producer::of(&guard);
    for _ in 0..3 {
        guest(&mut msix).mask(0);
        assert!(!msix.retract(0).unwrap());
        guest(&mut msix).unmask(0);
        producer.signal();
        fixture.apic().expect(0x41);
    }
    drop(guard);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
}

#[test]
fn a_full_and_blocking_counter_holds_no_trigger() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    guest(&mut msix).mask(0);
    Producer::of(&guard).into_eventfd().write(u64::MAX - 1).unwrap();
    make_blocking(&guard);

    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    assert!(guest(&mut msix).is_pending(0));
    guest(&mut msix).unmask(0);
    assert_eq!(fixture.apic().requested(), [0x41]);
    guest(&mut msix).mask(0);
    assert!(!guest(&mut msix).is_pending(0));
}

/// A translation whose VM was set up for less would be delivered to another CPU.
#[test]
fn an_upper_address_is_refused_where_destination_ids_have_eight_bits() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = function(1, fixture.delivery().with_translate(ExtendedDestinationId));
    // Destination 0x101.
    guest(&mut msix).bring_up(&[vm_msix::MsiMessage::new(0xfee0_1020, 0x41)]);
    assert_eq!(unsynced(&msix), [0]);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    fixture.apic().expect_nothing();
    fixture.cpus[1].expect_nothing();
    let error = KvmError::Message {
        address: 0x100_fee0_1000,
        destination_ids: vm_msix_kvm::DestinationIds::Bits8,
    };
    assert!(error.to_string().contains("Bits8"), "{error}");
}
