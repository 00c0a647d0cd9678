//! Which messages are interrupts, and what becomes of the others (C12).

use vm_msix::{MsiMessage, Signal};
use vm_msix_kvm::{LostMessages, RequesterId};

use crate::support::fixture::{Fixture, function};
use crate::support::lapic::LogicalModel;
use crate::support::taps::Memory;
use crate::support::{guest, to_apic, to_memory};

#[test]
fn c12_a_message_to_memory_is_discarded_and_counted() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_memory(0x41)]);

    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    guest(&mut msix).mask(0);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    guest(&mut msix).unmask(0);

    assert!(!guest(&mut msix).is_pending(0));
    fixture.apic().expect_nothing();
    let lost = msix.backend().lost_messages();
    assert_eq!(lost, LostMessages { discarded: 2, ..Default::default() });
}

#[test]
fn c12_a_message_to_memory_goes_to_the_hook_as_the_guest_wrote_it() {
    let Some(fixture) = Fixture::new() else { return };
    let memory = Memory::default();
    let requester = RequesterId::pci(2, 3, 1);
    assert_eq!(requester, RequesterId(0x0219));
    let delivery = fixture.delivery().with_memory_write(memory.clone()).with_requester(requester);
    let mut msix = function(1, delivery);
    let message = MsiMessage::new(0x0000_00ab_1234_5678, 0xdead_beef);
    guest(&mut msix).bring_up(&[message]);

    msix.trigger(0).unwrap();
    assert_eq!(memory.0.take(), [(requester, message)]);
    guest(&mut msix).mask(0);
    msix.trigger(0).unwrap();
    msix.trigger(0).unwrap();
    assert_eq!(memory.0.take(), []);
    guest(&mut msix).unmask(0);
    assert_eq!(memory.0.take(), [(requester, message)]);

    fixture.apic().expect_nothing();
    assert_eq!(msix.backend().lost_messages(), LostMessages::default());
}

/// The window is 0xfee00000 to 0xfeefffff; KVM itself would inject all of these.
#[test]
fn c12_only_the_apic_window_is_a_doorbell() {
    let Some(fixture) = Fixture::new() else { return };
    let memory = Memory::default();
    let mut msix = function(1, fixture.delivery().with_memory_write(memory.clone()));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let outside = [0, 0xfedf_fffc, 0xfef0_0000, 0xffff_fffc, 0x1_fee0_0000, 0xfee0_0000_0000_0000];
    for address in outside {
        guest(&mut msix).change_affinity(0, MsiMessage::new(address, 0x41));
        msix.trigger(0).unwrap();
        assert_eq!(memory.take_data(), [0x41], "{address:#x}");
        fixture.apic().expect_nothing();
    }
    // Destination 0xff is everybody.
    for address in [0xfee0_0000, 0xfeef_f000] {
        guest(&mut msix).change_affinity(0, MsiMessage::new(address, 0x41));
        msix.trigger(0).unwrap();
        assert_eq!(memory.take_data(), [] as [u32; 0], "{address:#x}");
        assert_eq!(fixture.apic().requested(), [0x41], "{address:#x}");
        fixture.apic().clear();
    }
}

#[test]
fn a_message_that_no_apic_takes_is_sent_and_counted() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.cpus[1].set_software_enable(false);
    for (what, address, data) in [
        ("no such APIC", 0xfee0_7000, 0x41),
        ("an APIC that is switched off", 0xfee0_1000, 0x41),
        ("no such logical destination", 0xfee8_0004, 0x41),
        ("logical destination zero", 0xfee0_0004, 0x41),
        ("no logical destination to choose from", 0xfee8_000c, 0x141),
    ] {
        expect_no_target(&fixture, what, MsiMessage::new(address, data));
    }
}

/// KVM has two ways to find a destination, and the slow one says "nobody" by EPERM. A guest gets there with APICs in
/// different logical models.
#[test]
fn a_message_that_no_apic_takes_is_sent_and_counted_in_kvms_slow_path_too() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.cpus[0].set_logical_id(LogicalModel::Flat, 0x01);
    fixture.cpus[1].set_logical_id(LogicalModel::Cluster, 0x11);
    expect_no_target(&fixture, "mixed logical models", MsiMessage::new(0xfee8_0004, 0x41));
}

fn expect_no_target(fixture: &Fixture, what: &str, message: MsiMessage) {
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[message]);
    let sent = msix.trigger(0);
    assert!(matches!(sent, Ok(Signal::Sent)), "{what}: {sent:?}");
    let lost = msix.backend().lost_messages();
    assert_eq!(lost, LostMessages { no_target: 1, ..Default::default() }, "{what}");
    fixture.apic().expect_nothing();
}

#[test]
fn each_function_counts_its_own_losses() {
    let Some(fixture) = Fixture::new() else { return };
    let delivery = fixture.delivery();
    let (mut first, second) = (function(1, delivery.clone()), function(1, delivery));
    guest(&mut first).bring_up(&[to_memory(7)]);
    first.trigger(0).unwrap();
    assert_eq!(first.backend().lost_messages().discarded, 1);
    assert_eq!(second.backend().lost_messages().discarded, 0);
}
