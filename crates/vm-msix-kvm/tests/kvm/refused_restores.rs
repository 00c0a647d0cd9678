//! C14 on a real KVM: a restore that is refused asks nothing of it and changes nothing, in either mode.

use vm_msix::{MsixError, MsixStateV1, Signal, StateError, VectorStateV1};
use vm_msix_kvm::{IoctlCounts, Irqfd};

use crate::support::deferred::{Deferred, message};
use crate::support::producer::Producer;
use crate::support::wait::until;
use crate::support::{Msix, guest, unsynced};

/// Two in signal mode, two on descriptors; of each the first is open, and the second masked with a signal waiting.
struct InUse {
    msix: Msix,
    guards: [Irqfd; 2],
}

impl InUse {
    fn of(vm: &Deferred) -> Self {
        let mut msix = vm.function(4);
        let guards = [2, 3].map(|vector| msix.get_irqfd(vector).unwrap());
        let mut driver = guest(&mut msix);
        driver.bring_up(&[0, 1, 2, 3].map(message));
        driver.mask(1);
        driver.mask(3);
        msix.flush().unwrap();
        msix.trigger(1).unwrap();
        Producer::of(&guards[1]).signal();
        Self { msix, guards }
    }

    /// Everything that can be seen of it without a change.
    fn seen(&self, vm: &Deferred) -> Seen {
        let msix = &self.msix;
        let mut table = [0xa5; 64];
        for (dword, bytes) in (0..).zip(table.chunks_exact_mut(4)) {
            msix.read_msix_table(4 * dword, bytes);
        }
        let mut pba = [0xa5; 8];
        msix.read_pba_entries(0, &mut pba);
        Seen {
            table,
            pba,
            control: (msix.enabled(), msix.masked()),
            unsynced: unsynced(msix),
            saved: msix.snapshot(),
            gsis: vm.fixture.router.gsis_in_use(),
            // The open one alone: where KVM does not listen, this would empty the counter.
            assigned: vm.is_assigned(&self.guards[0]),
            ioctls: vm.counters.counts(),
            commits: vm.table.commits.take().len(),
        }
    }

    /// Interrupts by each way there is, each once.
    fn expect_to_work(&mut self, vm: &Deferred) {
        let Self { msix, guards } = self;
        let apic = vm.fixture.apic();
        apic.expect_nothing();
        assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
        apic.expect(0x40);
        Producer::of(&guards[0]).signal();
        apic.expect(0x42);
        guest(msix).unmask(1);
        guest(msix).unmask(3);
        msix.flush().unwrap();
        until("what waited", || apic.requested() == [0x41, 0x43]);
        assert!([0, 1, 2, 3].iter().all(|vector| !guest(msix).is_pending(*vector)));
        assert!(guards.iter().all(|guard| vm.is_assigned(guard)));
        apic.clear();
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    table: [u8; 64],
    pba: [u8; 8],
    control: (bool, bool),
    unsynced: Vec<u16>,
    saved: MsixStateV1,
    gsis: usize,
    assigned: bool,
    ioctls: IoctlCounts,
    commits: usize,
}

/// Valid, and another in every register.
fn other() -> MsixStateV1 {
    let vector = VectorStateV1 { address: 0xfee0_1000, data: 0x99, masked: false, pending: true };
    MsixStateV1 {
        pci_id: 0x1041_1af4,
        device_name: "test".into(),
        enabled: false,
        function_masked: true,
        bus_master: false,
        vectors: vec![vector; 4],
    }
}

type Break = fn(&mut MsixStateV1);

/// One of each kind of error that a restore has.
fn broken() -> [(Break, StateError); 5] {
    [
        (|state| state.vectors.clear(), StateError::VectorCount { saved: 0, vectors: 4 }),
        (
            |state| state.vectors.resize(2048, state.vectors[0]),
            StateError::VectorCount { saved: 2048, vectors: 4 },
        ),
        (|state| state.pci_id = 1, StateError::PciId { saved: 1, pci_id: 0x1041_1af4 }),
        (
            |state| state.device_name = "toast".into(),
            StateError::DeviceName { saved: "toast".into(), device_name: "test".into() },
        ),
        (
            |state| state.vectors[3].address |= 2,
            StateError::Address { vector: 3, address: 0xfee0_1002 },
        ),
    ]
}

#[test]
fn c14_a_refused_restore_leaves_registers_routes_irqfds_and_signals_and_asks_nothing_of_kvm() {
    for make in [Deferred::polled, Deferred::spawned, Deferred::immediate] {
        let Some(vm) = make() else { return };
        for (broken, expected) in broken() {
            let mut in_use = InUse::of(&vm);
            vm.fixture.apic().expect_nothing();
            vm.table.commits.take();
            let before = in_use.seen(&vm);
            assert_eq!((before.pba[0], before.assigned, before.commits), (0b1010, true, 0));

            let mut state = other();
            broken(&mut state);
            match in_use.msix.restore(&state) {
                Err(MsixError::State(error)) => assert_eq!(error, expected),
                other => panic!("{other:?}"),
            }
            vm.committer.run_pending();
            assert_eq!(in_use.seen(&vm), before);
            in_use.expect_to_work(&vm);
        }
    }
}

/// It was the break that was refused, and nothing else.
#[test]
fn c14_the_same_restore_without_the_break_is_taken() {
    for make in [Deferred::polled, Deferred::spawned, Deferred::immediate] {
        let Some(vm) = make() else { return };
        let mut in_use = InUse::of(&vm);
        let before = in_use.seen(&vm);
        in_use.msix.restore(&other()).unwrap();
        vm.committer.run_pending();
        let after = in_use.seen(&vm);
        assert_eq!(after.saved, other());
        assert_ne!((&after.table, after.pba), (&before.table, before.pba));
        assert!(!after.assigned);
        vm.fixture.cpus.iter().for_each(|apic| apic.expect_nothing());
    }
}
