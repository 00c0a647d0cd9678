//! Vectors with a descriptor whose message is no interrupt (C12).

use vm_msix::Signal;
use vm_msix_kvm::LostMessages;

use crate::support::fixture::{Fixture, function};
use crate::support::producer::Producer;
use crate::support::taps::Memory;
use crate::support::{guest, to_apic, to_memory};

#[test]
fn c12_what_is_written_while_open_to_memory_is_neither_injected_nor_pending_later() {
    let Some(fixture) = Fixture::new() else { return };
    let memory = Memory::default();
    let mut msix = function(1, fixture.delivery().with_memory_write(memory.clone()));
    guest(&mut msix).bring_up(&[to_memory(7)]);
    let guard = msix.get_irqfd(0).unwrap();
    let producer = Producer::of(&guard);

    // A trigger from here is a memory write; one from outside has nobody to carry it there.
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(memory.take_data(), [7]);
    producer.signal();
    producer.signal();
    assert!(!guest(&mut msix).is_pending(0));

    guest(&mut msix).mask(0);
    assert!(!guest(&mut msix).is_pending(0));
    guest(&mut msix).program(0, to_apic(0, 0x41));
    guest(&mut msix).unmask(0);
    guest(&mut msix).mask(0);
    fixture.apic().expect_nothing();
    assert_eq!(memory.take_data(), [] as [u32; 0]);
    let lost = msix.backend().lost_messages();
    assert_eq!(lost, LostMessages { discarded: 1, ..Default::default() });

    guest(&mut msix).unmask(0);
    producer.signal();
    fixture.apic().expect(0x41);
}

#[test]
fn c12_from_a_doorbell_to_memory_and_back_without_a_mask() {
    let Some(fixture) = Fixture::new() else { return };
    let memory = Memory::default();
    let mut msix = function(1, fixture.delivery().with_memory_write(memory.clone()));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    let producer = Producer::of(&guard);
    for _ in 0..20 {
        guest(&mut msix).program(0, to_memory(7));
        producer.signal();
        msix.trigger(0).unwrap();
        assert_eq!(memory.take_data(), [7]);
        guest(&mut msix).program(0, to_apic(0, 0x41));
        producer.signal();
        fixture.apic().expect(0x41);
    }
    guest(&mut msix).mask(0);
    fixture.apic().expect_nothing();
    assert!(!guest(&mut msix).is_pending(0));
}

#[test]
fn c3_what_waited_in_the_counter_is_written_to_memory_once() {
    let Some(fixture) = Fixture::new() else { return };
    let memory = Memory::default();
    let mut msix = function(1, fixture.delivery().with_memory_write(memory.clone()));
    guest(&mut msix).bring_up(&[to_memory(7)]);
    let guard = msix.get_irqfd(0).unwrap();
    guest(&mut msix).mask(0);
    Producer::of(&guard).signal();
    msix.trigger(0).unwrap();
    assert!(guest(&mut msix).is_pending(0));

    guest(&mut msix).unmask(0);
    assert_eq!(memory.take_data(), [7]);
    assert!(!guest(&mut msix).is_pending(0));
    guest(&mut msix).mask(0);
    guest(&mut msix).unmask(0);
    assert_eq!(memory.take_data(), [] as [u32; 0]);
}

#[test]
fn the_last_guard_of_a_vector_open_to_memory_leaves_it_open_to_memory() {
    let Some(fixture) = Fixture::new() else { return };
    let memory = Memory::default();
    let mut msix = function(1, fixture.delivery().with_memory_write(memory.clone()));
    guest(&mut msix).bring_up(&[to_memory(7)]);
    let guard = msix.get_irqfd(0).unwrap();
    Producer::of(&guard).signal();
    drop(guard);

    assert_eq!(memory.take_data(), [] as [u32; 0]);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(memory.take_data(), [7]);
    assert!(!guest(&mut msix).is_pending(0));
    assert_eq!(msix.backend().lost_messages().discarded, 1);
}

#[test]
fn without_a_hook_triggers_to_memory_are_counted_in_irqfd_mode_too() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_memory(7)]);
    let _guard = msix.get_irqfd(0).unwrap();
    msix.trigger(0).unwrap();
    msix.trigger(0).unwrap();
    assert_eq!(msix.backend().lost_messages().discarded, 2);
    guest(&mut msix).mask(0);
    assert_eq!(msix.backend().lost_messages().discarded, 2);
}
