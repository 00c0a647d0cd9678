//! Many vectors that open, or are reset, by one register write: what waits in their latches and counters (C3, C7).

use vm_msix::test_utils::GuestDriver;
use vm_msix_kvm::{Irqfd, LostMessages};

use crate::support::deferred::Deferred;
use crate::support::fixture::{Fixture, function};
use crate::support::producer::Producer;
use crate::support::taps::Memory;
use crate::support::{Msix, guest, to_apic, to_memory};

/// More than one system call asks for, and not a multiple of it.
const VECTORS: u16 = 150;

/// Where a vector's signal waits: one vector in four each, and so each with every neighbour.
fn waits(vector: u16) -> (bool, bool) {
    (vector & 1 != 0, vector & 2 != 0)
}

/// Every other vector has no descriptor at all in the last third: the sampled and the others alternate there.
fn has_descriptor(vector: u16) -> bool {
    vector < VECTORS / 3 * 2 || vector.is_multiple_of(2)
}

fn take_descriptors(msix: &Msix) -> Vec<Option<Irqfd>> {
    let take = |vector: u16| has_descriptor(vector).then(|| msix.get_irqfd(vector.into()).unwrap());
    (0..VECTORS).map(take).collect()
}

/// Signals every vector as it is to be, and tells which have something pending.
fn signal_all(msix: &Msix, guards: &[Option<Irqfd>]) -> Vec<u16> {
    let signal = |&vector: &u16| {
        let (latched, counted) = waits(vector);
        let guard = guards[usize::from(vector)].as_ref().filter(|_| counted);
        if latched {
            msix.trigger(vector).unwrap();
        }
        if let Some(guard) = guard {
            Producer::of(guard).signal();
        }
        latched || guard.is_some()
    };
    (0..VECTORS).filter(signal).collect()
}

fn pending(msix: &mut Msix) -> Vec<u16> {
    (0..VECTORS).filter(|vector| guest(msix).is_pending(*vector)).collect()
}

fn bring_up(msix: &mut Msix) {
    let messages: Vec<_> = (0..VECTORS).map(|vector| to_memory(vector.into())).collect();
    guest(msix).bring_up(&messages);
}

#[test]
fn c3_what_waits_in_many_latches_and_counters_leaves_once_by_one_write() {
    type Switch = fn(&mut GuestDriver<&mut Msix>);
    let ways: [(Switch, Switch); 2] = [
        (|guest| guest.mask_function(), |guest| guest.unmask_function()),
        (|guest| guest.disable(), |guest| guest.enable()),
    ];
    let Some(fixture) = Fixture::new() else { return };
    for (close, open) in ways {
        let memory = Memory::default();
        let mut msix = function(VECTORS, fixture.delivery().with_memory_write(memory.clone()));
        let guards = take_descriptors(&msix);
        bring_up(&mut msix);
        close(&mut guest(&mut msix));
        let signalled = signal_all(&msix, &guards);
        assert_eq!(pending(&mut msix), signalled);

        open(&mut guest(&mut msix));
        let written: Vec<_> = memory.take_data().into_iter().map(|data| data as u16).collect();
        assert_eq!(written, signalled);
        assert_eq!(pending(&mut msix), [] as [u16; 0]);
        // Nothing was left behind in a counter, to be lost when its vector closes.
        close(&mut guest(&mut msix));
        assert_eq!(msix.backend().lost_messages(), LostMessages::default());
        assert_eq!(pending(&mut msix), [] as [u16; 0]);
    }
}

#[test]
fn c7_a_reset_takes_back_what_waits_in_many_latches_and_counters() {
    let Some(fixture) = Fixture::new() else { return };
    let memory = Memory::default();
    let mut msix = function(VECTORS, fixture.delivery().with_memory_write(memory.clone()));
    let guards = take_descriptors(&msix);
    let signalled = signal_all(&msix, &guards);
    assert_eq!(pending(&mut msix), signalled);

    msix.reset();
    assert_eq!(pending(&mut msix), [] as [u16; 0]);
    bring_up(&mut msix);
    assert_eq!(memory.take_data(), [] as [u32; 0]);
    guest(&mut msix).mask_function();
    assert_eq!(msix.backend().lost_messages(), LostMessages::default());
}

#[test]
fn what_waits_in_the_counters_of_many_does_not_wait_for_their_commit() {
    let Some(vm) = Deferred::polled() else { return };
    let (mut msix, guards) = vm.function_on_descriptors(2);
    guest(&mut msix).mask_function();
    for vector in 0..2 {
        guest(&mut msix).program(vector, to_apic(0, 0x40 + vector as u8));
        guest(&mut msix).unmask(vector);
    }
    guards.iter().for_each(|guard| Producer::of(guard).signal());
    guest(&mut msix).unmask_function();
    assert_eq!(vm.commits_of_kvm(), 0);
    assert_eq!(vm.fixture.apic().requested(), [0x40, 0x41]);
}
