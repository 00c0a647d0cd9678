//! C14 on a real KVM: what a restore asks of it, and what is delivered afterwards.

use std::sync::Arc;

use vm_msix::{MsixStateV1, Signal, VectorStateV1};
use vm_msix_kvm::{IoctlCounters, IoctlCounts, Irqfd, LostMessages};

use crate::support::deferred::{Deferred, message};
use crate::support::fixture::{Fixture, function};
use crate::support::producer::Producer;
use crate::support::tables::NoTable;
use crate::support::taps::Memory;
use crate::support::wait::until;
use crate::support::{MEMORY, Msix, guest};

const MOST: u16 = 2048;

/// Every vector unmasked, with the messages of [`message`], which the functions here are given as well.
pub(super) fn open_state(vectors: u16) -> MsixStateV1 {
    let vector = |vector| {
        let message = message(vector);
        VectorStateV1 {
            address: message.address,
            data: message.data,
            masked: false,
            pending: false,
        }
    };
    MsixStateV1 {
        pci_id: 0x1041_1af4,
        device_name: "test".into(),
        enabled: true,
        function_masked: false,
        bus_master: true,
        vectors: (0..vectors).map(vector).collect(),
    }
}

pub(super) fn with_pending(
    mut state: MsixStateV1,
    pending: impl IntoIterator<Item = u16>,
) -> MsixStateV1 {
    pending.into_iter().for_each(|vector| state.vectors[usize::from(vector)].pending = true);
    state
}

/// What was done since then.
fn since(counters: &IoctlCounters, then: IoctlCounts) -> IoctlCounts {
    let now = counters.counts();
    IoctlCounts {
        set_gsi_routing: now.set_gsi_routing - then.set_gsi_routing,
        irqfd_assign: now.irqfd_assign - then.irqfd_assign,
        irqfd_deassign: now.irqfd_deassign - then.irqfd_deassign,
        signal_msi: now.signal_msi - then.signal_msi,
    }
}

fn on_descriptors(vm: &Deferred, vectors: u16) -> (Msix, Vec<Irqfd>) {
    let msix = vm.function(vectors);
    let guards = (0..vectors).map(|vector| msix.get_irqfd(vector.into()).unwrap()).collect();
    (msix, guards)
}

fn each_way_to_commit() -> impl Iterator<Item = Deferred> {
    [Deferred::polled, Deferred::spawned, Deferred::immediate].into_iter().filter_map(|vm| vm())
}

#[test]
fn c14_a_restore_of_2048_vectors_on_descriptors_is_one_commit() {
    for vm in each_way_to_commit() {
        let (mut msix, guards) = on_descriptors(&vm, MOST);
        let cold = vm.counters.counts();
        msix.restore(&open_state(MOST)).unwrap();
        msix.flush().unwrap();
        let all = u64::from(MOST);
        let expected = IoctlCounts { set_gsi_routing: 1, irqfd_assign: all, ..Default::default() };
        assert_eq!(since(&vm.counters, cold), expected);
        assert_eq!(vm.table.commits.take().iter().map(Vec::len).collect::<Vec<_>>(), [2048]);
        for vector in [0, 63, 2047] {
            Producer::of(&guards[vector]).signal();
            vm.fixture.apic().expect(0x40 + (vector % 64) as u8);
        }

        // Warm: every irqfd is closed first, and nothing else is added.
        let warm = vm.counters.counts();
        let mut other = open_state(MOST);
        other.vectors.iter_mut().for_each(|vector| vector.data ^= 0x80);
        msix.restore(&other).unwrap();
        msix.flush().unwrap();
        assert_eq!(since(&vm.counters, warm), IoctlCounts { irqfd_deassign: all, ..expected });
        Producer::of(&guards[2047]).signal();
        vm.fixture.apic().expect(0x7f ^ 0x80);
    }
}

#[test]
fn c14_a_restore_in_signal_mode_is_no_ioctl_and_one_for_each_message_that_was_pending() {
    let Some(fixture) = Fixture::new() else { return };
    let counters = Arc::new(IoctlCounters::default());
    let delivery = fixture.delivery_with(Arc::new(NoTable)).with_ioctl_counters(counters.clone());
    let mut msix = function(MOST, delivery);
    for _cold_then_warm in 0..2 {
        let then = counters.counts();
        msix.restore(&open_state(MOST)).unwrap();
        msix.flush().unwrap();
        assert_eq!(since(&counters, then), IoctlCounts::default());
        fixture.apic().expect_nothing();

        msix.restore(&with_pending(open_state(MOST), [0, 1, 2047])).unwrap();
        let messages = IoctlCounts { signal_msi: 3, ..Default::default() };
        assert_eq!(since(&counters, then), messages);
        assert_eq!(fixture.apic().requested(), [0x40, 0x41, 0x7f]);
        fixture.apic().clear();
        msix.pause();
        msix.resume();
        assert_eq!(since(&counters, then), messages);
    }
}

#[test]
fn c14_ten_functions_restored_in_a_batch_are_one_commit() {
    for vm in each_way_to_commit() {
        let mut functions: Vec<_> = (0..10).map(|_| on_descriptors(&vm, 4)).collect();
        // Cold, and then into functions in use: as many ioctls, and the closing of what is open.
        for deassigns in [0, 40] {
            let then = vm.counters.counts();
            let batch = vm.committer.batch();
            for (msix, _) in &mut functions {
                msix.restore(&with_pending(open_state(4), [3])).unwrap();
            }
            vm.committer.run_pending();
            assert_eq!(since(&vm.counters, then).set_gsi_routing, 0);
            drop(batch);
            functions.iter_mut().for_each(|(msix, _)| msix.flush().unwrap());
            let done = since(&vm.counters, then);
            let expected = (1, 40, deassigns);
            assert_eq!((done.set_gsi_routing, done.irqfd_assign, done.irqfd_deassign), expected);
            vm.fixture.apic().expect(0x43);
            for (msix, guards) in &mut functions {
                assert!(guards.iter().all(|guard| vm.is_assigned(guard)));
                assert!((0..4).all(|vector| !guest(msix).is_pending(vector)));
            }
            vm.fixture.apic().clear();
        }
    }
}

/// What a source and its copy have in common: vector 0 was triggered, vector 1's eventfd written, vector 2 both.
fn saved_with_all_kinds_of_signals(vm: &Deferred) -> (MsixStateV1, Msix, Vec<Irqfd>) {
    let (mut source, guards) = on_descriptors(vm, 4);
    source.restore(&open_state(4)).unwrap();
    source.flush().unwrap();
    source.pause();
    source.trigger(0).unwrap();
    Producer::of(&guards[1]).signal();
    source.trigger(2).unwrap();
    (0..3).for_each(|_| Producer::of(&guards[2]).signal());
    let state = source.snapshot();
    assert_eq!(state, with_pending(open_state(4), [0, 1, 2]));
    (state, source, guards)
}

/// Each once, and nothing is left anywhere that could come again.
fn expect_each_once(vm: &Deferred, msix: &mut Msix) {
    until("what was pending", || vm.fixture.apic().requested() == [0x40, 0x41, 0x42]);
    msix.flush().unwrap();
    // What KVM has yet to inject, it injects before a pause returns.
    msix.pause();
    vm.fixture.apic().clear();
    assert!((0..4).all(|vector| !guest(msix).is_pending(vector)));
    msix.resume();
    msix.flush().unwrap();
    msix.pause();
    vm.fixture.apic().expect_nothing();
    assert_eq!(msix.backend().lost_messages(), LostMessages::default());
    msix.resume();
    msix.flush().unwrap();
}

#[test]
fn c14_what_was_pending_is_delivered_once_by_a_new_function() {
    for vm in each_way_to_commit() {
        let (state, _source, _guards) = saved_with_all_kinds_of_signals(&vm);
        let (mut target, guards) = on_descriptors(&vm, 4);
        target.restore(&state).unwrap();
        expect_each_once(&vm, &mut target);
        Producer::of(&guards[3]).signal();
        vm.fixture.apic().expect(0x43);

        let mut in_memory = vm.function(4);
        let then = vm.counters.counts();
        in_memory.restore(&state).unwrap();
        assert_eq!(since(&vm.counters, then).signal_msi, 3);
        expect_each_once(&vm, &mut in_memory);
    }
}

/// Where the counters of the eventfds still hold what is in the state.
#[test]
fn c14_what_was_pending_is_delivered_once_by_the_function_that_it_waits_in() {
    for vm in each_way_to_commit() {
        let (state, mut source, guards) = saved_with_all_kinds_of_signals(&vm);
        source.restore(&state).unwrap();
        vm.fixture.apic().expect_nothing();
        source.resume();
        expect_each_once(&vm, &mut source);
        Producer::of(&guards[3]).signal();
        vm.fixture.apic().expect(0x43);

        // And nothing of it when a state without is restored.
        source.pause();
        (0..4).for_each(|vector| Producer::of(&guards[vector]).signal());
        source.restore(&open_state(4)).unwrap();
        source.resume();
        source.flush().unwrap();
        source.pause();
        vm.fixture.apic().expect_nothing();
    }
}

/// Memory counts what an interrupt controller would collapse.
#[test]
fn c14_each_pending_message_is_written_once() {
    let Some(fixture) = Fixture::new() else { return };
    let memory = Memory::default();
    let mut msix = function(40, fixture.delivery().with_memory_write(memory.clone()));
    let _guards: Vec<_> = (10..30).map(|vector| msix.get_irqfd(vector).unwrap()).collect();
    let mut state = with_pending(open_state(40), (0..40).filter(|vector| vector % 3 != 0));
    for (vector, data) in state.vectors.iter_mut().zip(0..) {
        (vector.address, vector.data) = (MEMORY, data);
    }
    for _cold_then_warm in 0..2 {
        msix.restore(&state).unwrap();
        let expected: Vec<_> = (0..40).filter(|vector| vector % 3 != 0).collect();
        assert_eq!(memory.take_data(), expected);
        msix.pause();
        msix.resume();
        assert_eq!(memory.take_data(), [] as [u32; 0]);
    }
}

#[test]
fn c14_a_paused_function_that_is_restored_opens_when_it_resumes() {
    for vm in each_way_to_commit() {
        let (mut msix, guards) = on_descriptors(&vm, 4);
        let then = vm.counters.counts();
        msix.pause();
        msix.restore(&with_pending(open_state(4), [1])).unwrap();
        vm.committer.run_pending();
        msix.flush().unwrap();
        assert_eq!(since(&vm.counters, then), IoctlCounts::default());
        Producer::of(&guards[2]).signal();
        assert_eq!(msix.trigger(3).unwrap(), Signal::Latched);
        assert!([1, 2, 3].iter().all(|vector| guest(&mut msix).is_pending(*vector)));
        vm.fixture.apic().expect_nothing();

        msix.resume();
        msix.flush().unwrap();
        assert_eq!(since(&vm.counters, then).set_gsi_routing, 1);
        until("all three", || vm.fixture.apic().requested() == [0x41, 0x42, 0x43]);
        assert!(guards.iter().all(|guard| vm.is_assigned(guard)));
    }
}
