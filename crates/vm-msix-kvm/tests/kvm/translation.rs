//! The translate hook: when it is asked, by whom, and what a changed mind does.

use vm_msix::{MsiBackend, MsiMessage, Route, Signal};
use vm_msix_kvm::{KvmError, LostMessages, RequesterId};

use crate::support::fixture::{Fixture, function};
use crate::support::producer::Producer;
use crate::support::taps::{Memory, Remapper, Rule};
use crate::support::wait::until;
use crate::support::{guest, index, to_apic, to_memory, unsynced};

const REQUESTER: RequesterId = RequesterId::pci(1, 31, 7);

#[test]
fn signal_mode_asks_at_every_delivery_and_obeys_at_once() {
    let Some(fixture) = Fixture::new() else { return };
    let remapper = Remapper::default();
    let delivery = fixture.delivery().with_translate(remapper.clone()).with_requester(REQUESTER);
    let mut msix = function(1, delivery);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    remapper.asked.take();

    for (rule, cpu, vector) in [
        (Rule::Pass, 0, 0x41),
        (Rule::Become(to_apic(1, 0x52)), 1, 0x52),
        (Rule::Become(to_apic(0, 0x53)), 0, 0x53),
    ] {
        remapper.set(rule);
        assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
        assert_eq!(fixture.cpus[cpu].requested(), [vector]);
        fixture.cpus[cpu].clear();
        // Requester 1:1f.7 is 0x01ff, and the message is the guest's own.
        assert_eq!(remapper.asked.take(), [(RequesterId(0x01ff), to_apic(0, 0x41))]);
    }
}

#[test]
fn a_blocked_message_is_sent_and_counted_in_signal_mode() {
    let Some(fixture) = Fixture::new() else { return };
    let remapper = Remapper::default();
    let memory = Memory::default();
    let delivery = fixture.delivery().with_translate(remapper.clone());
    let mut msix = function(1, delivery.with_memory_write(memory.clone()));
    remapper.set(Rule::Block);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);

    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(msix.backend().lost_messages(), LostMessages { blocked: 1, ..Default::default() });
    assert_eq!(unsynced(&msix), [] as [u16; 0]);
    assert_eq!(memory.0.take(), []);
    fixture.apic().expect_nothing();

    remapper.set(Rule::Pass);
    msix.trigger(0).unwrap();
    assert_eq!(fixture.apic().requested(), [0x41]);
}

#[test]
fn a_message_to_memory_is_not_translated() {
    let Some(fixture) = Fixture::new() else { return };
    let remapper = Remapper::default();
    let mut msix = function(1, fixture.delivery().with_translate(remapper.clone()));
    remapper.set(Rule::Become(to_apic(0, 0x41)));
    guest(&mut msix).bring_up(&[to_memory(7)]);
    msix.trigger(0).unwrap();

    assert_eq!(remapper.asked.take(), []);
    fixture.apic().expect_nothing();
}

#[test]
fn invalidate_translations_leads_open_irqfds_elsewhere() {
    let Some(fixture) = Fixture::new() else { return };
    let remapper = Remapper::default();
    let delivery = fixture.delivery().with_translate(remapper.clone()).with_requester(REQUESTER);
    let mut msix = function(1, delivery);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    let producer = Producer::of(&guard);
    assert!(remapper.asked.take().contains(&(RequesterId(0x01ff), to_apic(0, 0x41))));

    producer.signal();
    fixture.cpus[0].expect(0x41);

    // Not told, an irqfd keeps its route.
    remapper.set(Rule::Become(to_apic(1, 0x52)));
    producer.signal();
    fixture.cpus[0].expect(0x41);

    msix.backend().invalidate_translations();
    producer.signal();
    fixture.cpus[1].expect(0x52);
    fixture.cpus[0].expect_nothing();
    assert!(msix.flush().is_ok());
}

#[test]
fn invalidate_translations_blocks_and_opens_an_irqfd_again() {
    let Some(fixture) = Fixture::new() else { return };
    let remapper = Remapper::default();
    let mut msix = function(1, fixture.delivery().with_translate(remapper.clone()));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();

    remapper.set(Rule::Block);
    msix.backend().invalidate_translations();
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(msix.backend().lost_messages().blocked, 1);
    assert!(!guest(&mut msix).is_pending(0));

    remapper.set(Rule::Pass);
    msix.backend().invalidate_translations();
    fixture.apic().expect_nothing();
    Producer::of(&guard).signal();
    fixture.apic().expect(0x41);
    drop(guard);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(fixture.apic().requested(), [0x41]);
}

#[test]
fn c11_a_translation_that_cannot_be_routed_closes_the_vector_and_is_told() {
    let Some(fixture) = Fixture::with_32_bit_ids() else { return };
    let remapper = Remapper::default();
    let mut msix = function(1, fixture.delivery().with_translate(remapper.clone()));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let _guard = msix.get_irqfd(0).unwrap();

    remapper.set(Rule::Become(MsiMessage::new(0x0000_0001_fee0_0000, 0x41)));
    msix.backend().invalidate_translations();
    assert!(msix.flush().is_err());
    assert_eq!(unsynced(&msix), [0]);
    msix.trigger(0).unwrap();
    assert!(guest(&mut msix).is_pending(0));
    fixture.apic().expect_nothing();

    // Unmasking to another message tries again, and delivers what waited.
    remapper.set(Rule::Pass);
    guest(&mut msix).change_affinity(0, to_apic(1, 0x43));
    until("the interrupt that waited", || fixture.cpus[1].has(0x43));
    assert!(msix.flush().is_ok());
}

#[test]
fn c11_late_news_of_a_route_that_was_replaced_is_dropped() {
    let Some(fixture) = Fixture::with_32_bit_ids() else { return };
    let remapper = Remapper::default();
    let mut msix = function(1, fixture.delivery().with_translate(remapper.clone()));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let _guard = msix.get_irqfd(0).unwrap();
    let backend = msix.backend();
    let late = || {
        let mut events = Vec::new();
        backend.late_events(&mut |vector, event| events.push((vector.get(), event.into_error())));
        events
    };

    let unroutable = MsiMessage::new(0x0000_0001_fee0_0000, 0x41);
    remapper.set(Rule::Become(unroutable));
    backend.invalidate_translations();
    assert!(matches!(late()[..], [(0, Some(KvmError::Message { .. }))]));
    assert!(late().is_empty());

    remapper.set(Rule::Pass);
    let set = |route| backend.set_routes(&[(index(0), route)], &mut |_, _| panic!("no news"));
    set(Route::Open(to_apic(0, 0x42)));
    remapper.set(Rule::Become(unroutable));
    backend.invalidate_translations();
    set(Route::Closed);
    assert!(late().is_empty());
}
