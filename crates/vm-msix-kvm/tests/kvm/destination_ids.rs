//! Destination IDs of 8, 15 and 32 bits.

use vm_msix::{MsiMessage, MsixError, Signal};
use vm_msix_kvm::{
    DestinationIds, ExtendedDestinationId, KvmError, LostMessages, RequesterId, Translate,
};

use crate::support::fixture::{Fixture, function};
use crate::support::producer::Producer;
use crate::support::taps::Memory;
use crate::support::{guest, to_apic, unsynced};

/// Bit 32 of the address is bit 0 of a byte that 32-bit IDs keep at zero.
const REFUSED: MsiMessage = MsiMessage::new(0x0000_0001_fee0_0000, 0x42);

/// APIC ID 0x100, which nobody has.
const ABSENT: MsiMessage = MsiMessage::new(0x0000_0100_fee0_0000, 0x44);

#[test]
fn c12_with_8_bit_ids_an_address_above_4_gib_is_memory() {
    let Some(fixture) = Fixture::new() else { return };
    let memory = Memory::default();
    let mut msix = function(2, fixture.delivery().with_memory_write(memory.clone()));
    guest(&mut msix).bring_up(&[REFUSED, ABSENT]);

    msix.trigger(0).unwrap();
    msix.trigger(1).unwrap();
    assert_eq!(memory.take_data(), [0x42, 0x44]);
    assert_eq!(unsynced(&msix), [] as [u16; 0]);
    fixture.apic().expect_nothing();
}

#[test]
fn c11_a_refused_address_closes_its_own_vector_only_in_signal_mode() {
    let Some(fixture) = Fixture::with_32_bit_ids() else { return };
    let mut msix = fixture.function(3);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), REFUSED, to_apic(1, 0x43)]);

    assert_eq!(unsynced(&msix), [1]);
    assert!(matches!(msix.flush(), Err(MsixError::Unsynced { vectors: 1, .. })));
    assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(msix.trigger(2).unwrap(), Signal::Sent);
    assert_eq!(fixture.cpus[0].requested(), [0x41]);
    assert_eq!(fixture.cpus[1].requested(), [0x43]);

    // A good message delivers what was latched.
    fixture.cpus[1].clear();
    guest(&mut msix).change_affinity(1, to_apic(1, 0x42));
    assert_eq!(fixture.cpus[1].requested(), [0x42]);
    assert!(msix.flush().is_ok());
}

#[test]
fn each_of_address_bits_39_32_is_refused_and_no_other() {
    let Some(fixture) = Fixture::with_32_bit_ids() else { return };
    for bit in 32..64 {
        let mut msix = fixture.function(1);
        guest(&mut msix).bring_up(&[MsiMessage::new(0xfee0_0000 | 1 << bit, 0x41)]);
        assert_eq!(unsynced(&msix).len(), usize::from(bit < 40), "bit {bit}");
    }
}

#[test]
fn c11_a_refused_address_closes_its_own_vector_only_in_irqfd_mode() {
    let Some(fixture) = Fixture::with_32_bit_ids() else { return };
    let mut msix = fixture.function(3);
    let guards: Vec<_> = (0..3).map(|vector| msix.get_irqfd(vector).unwrap()).collect();
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), REFUSED, to_apic(1, 0x43)]);

    assert_eq!(unsynced(&msix), [1]);
    guards.iter().for_each(|guard| Producer::of(guard).signal());
    assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
    fixture.cpus[0].expect(0x41);
    fixture.cpus[1].expect(0x43);
    assert!(guest(&mut msix).is_pending(1));

    guest(&mut msix).change_affinity(1, to_apic(1, 0x42));
    fixture.cpus[1].expect(0x42);
    assert!(!guest(&mut msix).is_pending(1));
    assert!(msix.flush().is_ok());
}

/// The error is this crate's own, given before any ioctl.
#[test]
fn get_irqfd_of_a_vector_with_a_refused_address_works_and_latches() {
    let Some(fixture) = Fixture::with_32_bit_ids() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[REFUSED]);
    msix.trigger(0).unwrap();
    let _guard = msix.get_irqfd(0).unwrap();

    assert_eq!(unsynced(&msix), [0]);
    assert!(guest(&mut msix).is_pending(0));
    guest(&mut msix).change_affinity(0, to_apic(0, 0x41));
    fixture.apic().expect(0x41);
}

#[test]
fn with_32_bit_ids_the_upper_address_names_an_apic() {
    let Some(fixture) = Fixture::with_32_bit_ids() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[ABSENT]);

    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    let lost = msix.backend().lost_messages();
    assert_eq!(lost, LostMessages { no_target: 1, ..Default::default() });
    fixture.apic().expect_nothing();
}

#[test]
fn the_refusal_says_which_address() {
    let error =
        KvmError::Message { address: REFUSED.address, destination_ids: DestinationIds::Bits32 };
    assert!(error.to_string().contains("0x1fee00000"), "{error}");
}

/// Worked out by hand from the layout that the guest sees: ID bits 7:0 in address bits 19:12, ID bits 14:8 in address
/// bits 11:5. KVM wants ID bits 31:8 in address bits 63:40.
#[test]
fn extended_ids_move_from_bits_11_5_to_the_upper_address() {
    for (guest, kvm) in [
        (0xfee0_0000, 0x0000_0000_fee0_0000), // ID 0
        (0xfeef_f000, 0x0000_0000_feef_f000), // ID 255
        (0xfee0_0020, 0x0000_0100_fee0_0000), // ID 256
        (0xfee2_c020, 0x0000_0100_fee2_c000), // ID 300
        (0xfee0_0800, 0x0000_4000_fee0_0000), // ID 16384
        (0xfeef_efe0, 0x0000_7f00_feef_e000), // ID 32766
        (0xfee0_102c, 0x0000_0100_fee0_100c), // ID 257, redirection hint, logical mode
    ] {
        let message = MsiMessage::new(guest, 0x4021);
        let translated = ExtendedDestinationId.translate(RequesterId(0), message);
        assert_eq!(translated, Some(MsiMessage::new(kvm, 0x4021)), "{guest:#x}");
    }
}

#[test]
fn extended_ids_leave_other_formats_alone() {
    for address in [
        0xfee0_0030,           // remappable format
        0x0000_0100_fee0_0020, // an ID in the upper half already
        0x0010_0020,           // memory
        0xfed0_0020,
    ] {
        let message = MsiMessage::new(address, 0x41);
        let translated = ExtendedDestinationId.translate(RequesterId(0), message);
        assert_eq!(translated, Some(message), "{address:#x}");
    }
}

#[test]
fn an_extended_id_above_255_reaches_its_apic_in_both_modes() {
    let Some(fixture) = Fixture::with_high_id(300) else { return };
    let delivery = fixture.delivery().with_translate(ExtendedDestinationId);
    let mut msix = function(1, delivery.with_destination_ids(DestinationIds::Bits32));
    // 300 = 0x12c: 0x2c in bits 19:12, 1 in bits 11:5.
    guest(&mut msix).bring_up(&[MsiMessage::new(0xfee2_c020, 0x41)]);

    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(fixture.cpus[1].requested(), [0x41]);
    fixture.cpus[1].clear();

    let _guard = msix.get_irqfd(0).unwrap();
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    fixture.cpus[1].expect(0x41);
    fixture.cpus[0].expect_nothing();
    assert_eq!(msix.backend().lost_messages(), LostMessages::default());
}
