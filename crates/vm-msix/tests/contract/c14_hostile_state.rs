//! C14: saved state is untrusted. It is validated whole before the first side effect; a refusal changes nothing.

use crate::support::guest::{
    DATA, NONE, bring_up, function, mask, message, pba, table, unsynced, write_dword,
};
use crate::support::observing::Events;
use crate::support::spy::{Call, Spy};
use vm_msix::test_utils::{Failure, MockBackend};
use vm_msix::{MsixConfig, MsixError, MsixStateV1, Signal, StateError, VectorStateV1};

type Break = fn(&mut MsixStateV1);
type Subject<'a> = MsixConfig<&'a Spy<MockBackend>, Events>;

/// A state that differs in every register from the function it is restored into.
fn valid() -> MsixStateV1 {
    let vector = VectorStateV1 { address: 0x1000, data: 7, masked: false, pending: true };
    MsixStateV1 {
        pci_id: 0x1042_1af4,
        device_name: "disk0".into(),
        enabled: true,
        function_masked: true,
        bus_master: false,
        vectors: vec![vector; 3],
    }
}

/// One field broken at a time, and what is said.
const BROKEN: [(Break, &str); 12] = [
    (
        |state| {
            state.vectors.pop();
        },
        "it has 2 vectors, this function 3",
    ),
    (|state| state.vectors.clear(), "it has 0 vectors, this function 3"),
    (|state| state.vectors.push(state.vectors[0]), "it has 4 vectors, this function 3"),
    (|state| state.vectors.resize(2048, state.vectors[0]), "it has 2048 vectors, this function 3"),
    (
        |state| state.vectors.resize(65_536 + 3, state.vectors[0]),
        "it has 65539 vectors, this function 3",
    ),
    (|state| state.pci_id ^= 1, "it is of PCI ID 0x10421af5, this function 0x10421af4"),
    (|state| state.pci_id = 0, "it is of PCI ID 0x00000000, this function 0x10421af4"),
    (|state| state.device_name = "disk1".into(), "it is of device \"disk1\", this is \"disk0\""),
    (|state| state.device_name.clear(), "it is of device \"\", this is \"disk0\""),
    (
        |state| state.vectors[0].address |= 1,
        "vector 0 has message address 0x1001, whose two lowest bits must be zero",
    ),
    (
        |state| state.vectors[2].address |= 2,
        "vector 2 has message address 0x1002, whose two lowest bits must be zero",
    ),
    (
        |state| state.vectors[1].address = u64::MAX,
        "vector 1 has message address 0xffffffffffffffff, whose two lowest bits must be zero",
    ),
];

/// In use: vector 0 open, vector 1 masked and pending, vector 2 failed.
fn in_use(spy: &Spy<MockBackend>) -> Subject<'_> {
    let mut msix = function(3, spy).with_observer(Events::default());
    spy.inner().fail_next_open(2, Failure::Refused);
    bring_up(&mut msix);
    mask(&mut msix, 1);
    msix.trigger(1).unwrap();
    msix
}

#[test]
fn c14_a_refused_restore_leaves_the_object_untouched() {
    for (broken, text) in BROKEN {
        let spy = Spy::new(MockBackend::new(3).unwrap());
        let mut msix = in_use(&spy);
        let before = (table(&msix), pba(&msix), unsynced(&msix), msix.snapshot());
        let routes = [0, 1, 2].map(|vector| spy.inner().route(vector));
        spy.take_calls();
        msix.observer().take();

        let mut state = valid();
        broken(&mut state);
        let error = msix.restore(&state).unwrap_err();
        assert_eq!(error.to_string(), format!("saved state refused: {text}"));

        assert_eq!(spy.take_calls(), [], "{text}");
        assert_eq!(msix.observer().take(), []);
        assert_eq!((table(&msix), pba(&msix), unsynced(&msix), msix.snapshot()), before);
        assert_eq!([0, 1, 2].map(|vector| spy.inner().route(vector)), routes);
        assert_eq!(spy.inner().releases(), 0);
        // The refused message is not forgotten either, and the function goes on.
        msix.flush().unwrap_err();
        assert!(!spy.take_calls().iter().any(|call| matches!(call, Call::SetRoutes(_))));
        assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
        write_dword(&mut msix, 2, DATA, 0x99);
        assert_eq!(unsynced(&msix), NONE);
        assert_eq!(spy.inner().take_sent(), [(0, message(0))]);
    }
}

#[test]
fn c14_the_whole_state_is_valid_again_when_the_break_is_taken_back() {
    let spy = Spy::new(MockBackend::new(3).unwrap());
    let mut msix = in_use(&spy);
    msix.restore(&valid()).unwrap();
    assert_eq!(msix.snapshot(), valid());
}

#[test]
fn c14_the_first_error_has_its_values() {
    let mut msix = function(3, MockBackend::new(3).unwrap());
    let mut refused = |state: &MsixStateV1| match msix.restore(state) {
        Err(MsixError::State(error)) => error,
        other => panic!("{other:?}"),
    };
    let short = MsixStateV1 { vectors: vec![], ..valid() };
    assert_eq!(refused(&short), StateError::VectorCount { saved: 0, vectors: 3 });
    let other = MsixStateV1 { pci_id: 1, ..valid() };
    assert_eq!(refused(&other), StateError::PciId { saved: 1, pci_id: 0x1042_1af4 });
    let mut crooked = valid();
    crooked.vectors[1].address = 6;
    assert_eq!(refused(&crooked), StateError::Address { vector: 1, address: 6 });
}

#[test]
fn c14_a_name_without_end_is_shortened_in_the_error() {
    let mut msix = function(3, MockBackend::new(3).unwrap());
    let state = MsixStateV1 { device_name: "ü".repeat(1 << 20), ..valid() };
    match msix.restore(&state) {
        Err(MsixError::State(StateError::DeviceName { saved, device_name })) => {
            assert_eq!(saved, "ü".repeat(64));
            assert_eq!(device_name, "disk0");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn c14_every_combination_of_the_control_bits_is_legal() {
    for bits in 0..8 {
        let state = MsixStateV1 {
            enabled: bits & 1 != 0,
            function_masked: bits & 2 != 0,
            bus_master: bits & 4 != 0,
            ..valid()
        };
        let backend = MockBackend::new(3).unwrap();
        let mut msix = function(3, &backend);
        msix.restore(&state).unwrap();
        let open = bits == 0b101;
        assert_eq!(backend.take_sent().len(), if open { 3 } else { 0 });
        let still_pending = if open { 0 } else { 0b111 };
        assert_eq!(pba(&msix), [still_pending]);
    }
}
