//! C1: a vector is open if Enable and not Function Mask and not Mask Bit and bus mastering allowed; else closed.

use crate::support::guest::{
    ENABLE, FUNCTION_MASK, OFF, closed, control, function, mask, message, open, program, unmask,
};
use vm_msix::test_utils::MockBackend;
use vm_msix::{MsiMessage, MsixConfig, Route};

fn set<B: vm_msix::MsiBackend>(
    msix: &mut MsixConfig<B>,
    (word, masked, bus_master): (u16, bool, bool),
) {
    control(msix, word);
    if masked {
        mask(msix, 0)
    } else {
        unmask(msix, 0)
    };
    msix.set_bus_master(bus_master);
}

/// Message Control, Mask Bit, bus mastering: all sixteen.
fn states() -> impl Iterator<Item = (u16, bool, bool)> {
    [OFF, FUNCTION_MASK, ENABLE, ENABLE | FUNCTION_MASK].into_iter().flat_map(|word| {
        [false, true]
            .into_iter()
            .flat_map(move |masked| [false, true].map(|bus_master| (word, masked, bus_master)))
    })
}

#[test]
fn c01_a_vector_is_open_in_exactly_one_of_sixteen_states() {
    for state in states() {
        let backend = MockBackend::new(1).unwrap();
        let mut msix = function(1, &backend);
        program(&mut msix, 0, message(0));
        set(&mut msix, state);
        let expected = match state {
            (0x8000, false, true) => open(0).1,
            _ => Route::Closed,
        };
        assert_eq!(backend.route(0), expected, "{state:x?}");
    }
}

#[test]
fn c01_the_decision_does_not_depend_on_the_state_before() {
    for before in states() {
        for after in states() {
            let backend = MockBackend::new(1).unwrap();
            let mut msix = function(1, &backend);
            program(&mut msix, 0, message(0));
            set(&mut msix, before);
            set(&mut msix, after);
            let is_open = after == (ENABLE, false, true);
            let expected = if is_open { open(0).1 } else { closed(0).1 };
            assert_eq!(backend.route(0), expected, "{before:x?}, then {after:x?}");
        }
    }
}

#[test]
fn c01_bus_mastering_is_allowed_until_told_otherwise() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend);
    program(&mut msix, 0, message(0));
    unmask(&mut msix, 0);
    control(&mut msix, ENABLE);
    assert_eq!(backend.route(0), open(0).1);
    msix.set_bus_master(false);
    assert_eq!(backend.route(0), Route::Closed);
    msix.set_bus_master(true);
    assert_eq!(backend.route(0), open(0).1);
}

#[test]
fn c01_the_mask_bit_of_a_vector_decides_for_that_vector_only() {
    let backend = MockBackend::new(65).unwrap();
    let mut msix = function(65, &backend);
    for vector in 0..65 {
        program(&mut msix, vector, message(vector));
        unmask(&mut msix, vector);
    }
    control(&mut msix, ENABLE);
    mask(&mut msix, 63);
    for vector in 0..65 {
        let expected = if vector == 63 { Route::Closed } else { open(vector).1 };
        assert_eq!(backend.route(vector), expected);
    }
}

#[test]
fn c01_the_route_carries_the_message_of_the_entry() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend);
    let message = MsiMessage::new(0x0123_4567_89ab_cdec, 0xfedc_ba98);
    program(&mut msix, 0, message);
    unmask(&mut msix, 0);
    control(&mut msix, ENABLE);
    assert_eq!(backend.route(0), Route::Open(message));
}
