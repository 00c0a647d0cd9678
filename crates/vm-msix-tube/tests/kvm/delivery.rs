//! Signals of a device process arrive, wait, and go, as those of a device in the VMM do.

use vm_msix::Signal;

use crate::host::{Host, guest};
use crate::support::producer::Producer;
use crate::support::to_apic;
use crate::support::wait::until;

#[test]
fn c3_an_open_vector_delivers_and_a_closed_one_latches() {
    let Some(host) = Host::new() else { return };
    let mut msix = host.function(2);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Collapsed);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_apic(1, 0x42)]);
    host.fixture.cpus[0].expect(0x41);
    for _ in 0..20 {
        assert_eq!(msix.trigger(1).unwrap(), Signal::HandedOver);
        host.fixture.cpus[1].expect(0x42);
    }
    guest(&mut msix).mask(1);
    assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
    assert!(guest(&mut msix).is_pending(1));
    host.fixture.cpus[1].expect_nothing();
    guest(&mut msix).unmask(1);
    host.fixture.cpus[1].expect(0x42);
    msix.flush().unwrap();
    guest(&mut msix).mask(1);
    assert!(!guest(&mut msix).is_pending(1));
    host.fixture.cpus[1].expect_nothing();
}

#[test]
fn c4_what_was_handed_over_before_a_mask_was_delivered_or_is_pending_after_it() {
    let Some(host) = Host::new() else { return };
    let mut msix = host.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    for round in 0..500 {
        assert_eq!(msix.trigger(0).unwrap(), Signal::HandedOver, "round {round}");
        guest(&mut msix).mask(0);
        let came = host.fixture.apic().has(0x41);
        let waits = guest(&mut msix).is_pending(0);
        assert!(came != waits, "round {round}: came {came}, waits {waits}");
        host.fixture.apic().clear();
        guest(&mut msix).unmask(0);
        if waits {
            host.fixture.apic().expect(0x41);
        }
    }
}

#[test]
fn c7_a_reset_gives_everything_back_and_the_function_goes_on() {
    let Some(host) = Host::new() else { return };
    let mut msix = host.function(300);
    let messages: Vec<_> = (0..300).map(|vector| to_apic(0, 0x40 + (vector % 64) as u8)).collect();
    for _ in 0..3 {
        guest(&mut msix).bring_up(&messages);
        msix.flush().unwrap();
        assert_eq!(host.router.gsis_in_use(), 300);
        msix.trigger(299).unwrap();
        host.fixture.apic().expect(0x40 + (299_u16 % 64) as u8);
        msix.reset();
        assert_eq!(host.router.gsis_in_use(), 0);
    }
    drop(msix);
    until("the end of the session", || host.server.sessions() == 0);
}

#[test]
fn c13_somebody_else_writes_the_descriptor_and_obeys_the_mask() {
    let Some(host) = Host::new() else { return };
    let mut msix = host.function(1);
    let guard = msix.get_irqfd(0).unwrap();
    let producer = Producer::of(&guard);
    producer.signal();
    assert!(guest(&mut msix).is_pending(0));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    host.fixture.apic().expect(0x41);
    producer.signal();
    host.fixture.apic().expect(0x41);

    guest(&mut msix).mask(0);
    producer.signal();
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    assert!(guest(&mut msix).is_pending(0));
    host.fixture.apic().expect_nothing();
    guest(&mut msix).unmask(0);
    host.fixture.apic().expect(0x41);
    msix.flush().unwrap();
    guest(&mut msix).mask(0);
    host.fixture.apic().expect_nothing();
    assert!(!guest(&mut msix).is_pending(0));

    // What nobody writes any more keeps nothing to itself.
    producer.signal();
    drop(guard);
    assert!(guest(&mut msix).is_pending(0));
    assert!(msix.retract(0).unwrap());
    assert!(!guest(&mut msix).is_pending(0));
}

#[test]
fn one_commit_binds_what_a_driver_brings_up_and_few_answers_are_waited_for() {
    const VECTORS: u16 = 2048;
    let Some(host) = Host::new() else { return };
    let mut msix = host.function(VECTORS);
    {
        let mut guest = guest(&mut msix);
        guest.enable_under_mask();
        (0..VECTORS).for_each(|vector| guest.mask(vector));
        guest.unmask_function();
        for vector in 0..VECTORS {
            guest.program(vector, to_apic(0, 0x40 + (vector % 64) as u8));
            guest.unmask(vector);
        }
    }
    msix.flush().unwrap();
    let traffic = msix.backend().traffic();
    assert!(traffic.requests >= u64::from(VECTORS));
    assert!(traffic.round_trips <= 64, "{traffic:?}");
    assert!(host.counters.counts().set_gsi_routing <= 64, "{:?}", host.counters.counts());
    assert_eq!(host.counters.counts().irqfd_assign, u64::from(VECTORS));
    for vector in [0, 1, 1000, 2047] {
        msix.trigger(vector).unwrap();
        host.fixture.apic().expect(0x40 + (vector % 64) as u8);
    }
}
