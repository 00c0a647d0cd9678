//! C14: the saved state in JSON. What version 1 wrote is read for ever.

use super::c14_golden::{vector, working};
use crate::support::guest::{bring_up, control, function, mask, pba, table, unmask};
use serde_json::{Value, json};
use vm_msix::test_utils::MockBackend;
use vm_msix::{MsiMessage, MsixStateV1, Route};

/// Written once, by version 1; never to be changed.
const GOLDEN: &str = include_str!("../data/msix-state-v1.json");

fn golden() -> MsixStateV1 {
    working(vec![
        vector(0xfee0_1000, 0x41, false, false),
        vector(0xffff_ffff_ffff_fffc, 0xffff_ffff, true, true),
        vector(0, 0, true, false),
    ])
}

#[test]
fn c14_the_golden_state_reads_as_what_it_was() {
    assert_eq!(serde_json::from_str::<MsixStateV1>(GOLDEN).unwrap(), golden());
}

#[test]
fn c14_the_golden_state_is_what_is_written_today() {
    let stored: Value = serde_json::from_str(GOLDEN).unwrap();
    assert_eq!(serde_json::to_value(golden()).unwrap(), stored);
}

#[test]
fn c14_the_golden_state_restores_and_works() {
    let backend = MockBackend::new(3).unwrap();
    let mut msix = function(3, &backend);
    msix.restore(&serde_json::from_str(GOLDEN).unwrap()).unwrap();
    assert_eq!(backend.route(0), Route::Open(MsiMessage::new(0xfee0_1000, 0x41)));
    assert_eq!(pba(&msix), [0b010]);
    #[rustfmt::skip]
    assert_eq!(table(&msix), [
        0xfee0_1000, 0, 0x41, 0,
        0xffff_fffc, 0xffff_ffff, 0xffff_ffff, 1,
        0, 0, 0, 1,
    ]);
    unmask(&mut msix, 1);
    let message = MsiMessage::new(0xffff_ffff_ffff_fffc, 0xffff_ffff);
    assert_eq!(backend.take_sent(), [(1, message)]);
}

#[test]
fn c14_a_state_survives_the_round_trip() {
    for count in [1, 65, 2048] {
        let mut msix = function(count, MockBackend::new(count).unwrap());
        bring_up(&mut msix);
        mask(&mut msix, count / 2);
        msix.trigger(count / 2).unwrap();
        control(&mut msix, 0xc000);
        msix.trigger(count - 1).unwrap();
        let saved = msix.snapshot();
        let text = serde_json::to_string(&saved).unwrap();
        assert_eq!(serde_json::from_str::<MsixStateV1>(&text).unwrap(), saved);
    }
}

#[test]
fn c14_a_state_holds_no_host_resource() {
    let Value::Object(state) = serde_json::from_str(GOLDEN).unwrap() else { unreachable!() };
    let mut names: Vec<_> = state.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["bus_master", "device_name", "enabled", "function_masked", "pci_id", "vectors"]
    );
}

/// Replaces a value of the golden state and reads the result.
fn read_with(pointer: &str, value: Value) -> Result<MsixStateV1, serde_json::Error> {
    let mut state: Value = serde_json::from_str(GOLDEN).unwrap();
    *state.pointer_mut(pointer).unwrap() = value;
    serde_json::from_value(state)
}

#[test]
fn c14_a_value_of_another_type_or_out_of_range_is_refused_while_it_is_read() {
    for (pointer, values) in [
        ("/pci_id", vec![json!(-1), json!(1_u64 << 32), json!("1"), json!(1.5), Value::Null]),
        ("/device_name", vec![json!(1), json!(["disk0"]), Value::Null]),
        ("/enabled", vec![json!(1), json!("true"), Value::Null]),
        ("/function_masked", vec![json!(0), Value::Null]),
        ("/bus_master", vec![json!(1), Value::Null]),
        ("/vectors", vec![json!({}), json!([1]), json!([[]]), json!("x"), Value::Null]),
        ("/vectors/1", vec![json!({}), json!([0]), Value::Null]),
        ("/vectors/1/address", vec![json!(-4), json!("0"), json!(1e30), Value::Null]),
        ("/vectors/1/data", vec![json!(1_u64 << 32), json!(-1), Value::Null]),
        ("/vectors/1/masked", vec![json!(1), Value::Null]),
        ("/vectors/1/pending", vec![json!(0), Value::Null]),
    ] {
        for value in values {
            assert!(read_with(pointer, value.clone()).is_err(), "{pointer}: {value}");
        }
    }
}

#[test]
fn c14_a_field_that_is_missing_or_unknown_is_refused_while_it_is_read() {
    let whole: Value = serde_json::from_str(GOLDEN).unwrap();
    for (parent, names) in [
        ("", &["pci_id", "device_name", "enabled", "function_masked", "bus_master", "vectors"][..]),
        ("/vectors/2", &["address", "data", "masked", "pending"]),
    ] {
        for name in names {
            let mut state = whole.clone();
            let object = state.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            object.remove(*name).unwrap();
            let error = serde_json::from_value::<MsixStateV1>(state).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let mut state = whole.clone();
        let object = state.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        object.insert("gsi".into(), json!(24));
        let error = serde_json::from_value::<MsixStateV1>(state).unwrap_err();
        assert!(error.to_string().contains("gsi"), "{error}");
    }
}

#[test]
fn c14_the_most_vectors_are_read_and_one_more_is_not() {
    let vectors = |count| {
        Value::Array(vec![
            json!({"address": 0, "data": 0, "masked": true, "pending": false});
            count
        ])
    };
    assert_eq!(read_with("/vectors", vectors(2048)).unwrap().vectors.len(), 2048);
    assert_eq!(read_with("/vectors", vectors(0)).unwrap().vectors.len(), 0);
    let error = read_with("/vectors", vectors(2049)).unwrap_err();
    assert!(error.to_string().contains("at most 2048 vectors"), "{error}");
}
