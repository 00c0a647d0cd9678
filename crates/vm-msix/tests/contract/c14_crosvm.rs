//! C14: what crosvm saved goes on here.

use super::c14_golden::{vector, working};
use crate::support::format::json_as_cbor;
use crate::support::guest::{control, function, pba, table, unmask};
use proptest::prelude::*;
use serde_json::{Value, json};
use vm_msix::test_utils::MockBackend;
use vm_msix::{CrosvmMsixState, CrosvmTableEntry, MsiMessage, MsixError, MsixStateV1, Route};

/// As crosvm writes it: vector 0 open, vector 1 masked and pending, vector 2 with every bit set.
pub(super) const SAVED: &str = r#"{
    "table_entries": [
        { "msg_addr_lo": 4276097024, "msg_addr_hi": 0, "msg_data": 65, "vector_ctl": 0 },
        { "msg_addr_lo": 4276092928, "msg_addr_hi": 1, "msg_data": 66, "vector_ctl": 1 },
        {
            "msg_addr_lo": 4294967295, "msg_addr_hi": 4294967295,
            "msg_data": 4294967295, "vector_ctl": 4294967295
        }
    ],
    "pba_entries": [2],
    "irq_gsi_vec": [24, null, null],
    "masked": false,
    "enabled": true,
    "msix_num": 3,
    "pci_id": 272767732,
    "device_name": "disk0"
}"#;

/// What it means.
pub(super) fn meaning() -> MsixStateV1 {
    working(vec![
        vector(0xfee0_1000, 65, false, false),
        vector(0x1_fee0_0000, 66, true, true),
        // The two lowest bits of the address, and all of Vector Control but the Mask Bit, are dropped.
        vector(0xffff_ffff_ffff_fffc, 0xffff_ffff, true, false),
    ])
}

pub(super) fn saved() -> Value {
    serde_json::from_str(SAVED).unwrap()
}

#[test]
fn c14_what_crosvm_saved_is_read_from_json_and_from_cbor() {
    let from_json: CrosvmMsixState = serde_json::from_str(SAVED).unwrap();
    let cbor = json_as_cbor(&saved());
    let from_cbor: CrosvmMsixState = ciborium::from_reader(&*cbor).unwrap();
    assert_eq!(from_json, from_cbor);
    assert_eq!(MsixStateV1::try_from(from_json).unwrap(), meaning());
}

#[test]
fn c14_what_crosvm_saved_restores_and_works() -> Result<(), MsixError> {
    let backend = MockBackend::new(3)?;
    let mut msix = function(3, &backend);
    let state: CrosvmMsixState = serde_json::from_str(SAVED).unwrap();
    msix.restore(&state.try_into()?)?;
    assert_eq!(backend.route(0), Route::Open(MsiMessage::new(0xfee0_1000, 65)));
    assert_eq!(pba(&msix), [0b010]);
    #[rustfmt::skip]
    assert_eq!(table(&msix), [
        0xfee0_1000, 0, 65, 0,
        0xfee0_0000, 1, 66, 1,
        0xffff_fffc, 0xffff_ffff, 0xffff_ffff, 1,
    ]);
    assert!(backend.take_sent().is_empty());
    unmask(&mut msix, 1);
    assert_eq!(backend.take_sent(), [(1, MsiMessage::new(0x1_fee0_0000, 66))]);
    assert_eq!(pba(&msix), [0]);
    Ok(())
}

#[test]
fn c14_crosvms_two_bits_are_message_controls() {
    for (enabled, masked) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut value = saved();
        value["enabled"] = json!(enabled);
        value["masked"] = json!(masked);
        let state: CrosvmMsixState = serde_json::from_value(value).unwrap();
        let state = MsixStateV1::try_from(state).unwrap();
        assert_eq!((state.enabled, state.function_masked), (enabled, masked));
    }
}

#[test]
fn c14_crosvm_does_not_say_who_masters_the_bus_so_the_vmm_does_before_anything_opens() {
    let backend = MockBackend::new(3).unwrap();
    let mut msix = function(3, &backend);
    let state: CrosvmMsixState = serde_json::from_str(SAVED).unwrap();
    msix.pause();
    msix.restore(&state.try_into().unwrap()).unwrap();
    msix.set_bus_master(false);
    msix.resume();
    assert_eq!(backend.route(0), Route::Closed);
    msix.set_bus_master(true);
    assert_eq!(backend.route(0), Route::Open(MsiMessage::new(0xfee0_1000, 65)));
}

#[test]
fn c14_crosvms_gsis_and_fields_to_come_are_read_past_whatever_is_in_them() {
    let plain: CrosvmMsixState = serde_json::from_str(SAVED).unwrap();
    let deep = json!({ "gsi": 24, "route": [[[{ "a": null }], "text", 1.5]], "more": {} });
    for gsis in [
        json!([]),
        json!([1, 2, 3]),
        json!([null]),
        json!([deep, "text", -1, true, [[]]]),
        json!(null),
        json!(vec![0; 2048]),
    ] {
        let mut value = saved();
        value["irq_gsi_vec"] = gsis.clone();
        value["pci_address"] = deep.clone();
        value["msi_window"] = json!("x".repeat(3000));
        let cbor = json_as_cbor(&value);
        assert_eq!(ciborium::from_reader::<CrosvmMsixState, _>(&*cbor).unwrap(), plain, "{gsis}");
        assert_eq!(serde_json::from_value::<CrosvmMsixState>(value).unwrap(), plain, "{gsis}");
    }
    let mut without = saved();
    without.as_object_mut().unwrap().remove("irq_gsi_vec").unwrap();
    assert_eq!(serde_json::from_value::<CrosvmMsixState>(without).unwrap(), plain);
}

fn entry() -> impl Strategy<Value = CrosvmTableEntry> {
    // Half of the Mask Bits clear, and often nothing but them.
    let vector_ctl = prop_oneof![0..2_u32, any::<u32>()];
    (any::<u32>(), any::<u32>(), any::<u32>(), vector_ctl).prop_map(
        |(msg_addr_lo, msg_addr_hi, msg_data, vector_ctl)| CrosvmTableEntry {
            msg_addr_lo,
            msg_addr_hi,
            msg_data,
            vector_ctl,
        },
    )
}

/// Of 1 to 200 vectors; one in four has Pending Bits of no vector, where there is room for them.
fn any_state() -> impl Strategy<Value = CrosvmMsixState> {
    let tables = prop::collection::vec(entry(), 1..=200);
    (tables, prop::collection::vec(any::<u64>(), 4), any::<[bool; 2]>(), 0..4_u8).prop_map(
        |(table_entries, mut pba_entries, [masked, enabled], quarter)| {
            let count = table_entries.len();
            pba_entries.truncate(count.div_ceil(64));
            if quarter != 0 && count % 64 != 0 {
                *pba_entries.last_mut().unwrap() &= (1 << (count % 64)) - 1;
            }
            CrosvmMsixState {
                table_entries,
                pba_entries,
                irq_gsi_vec: (),
                masked,
                enabled,
                msix_num: count as u16,
                pci_id: 0x1042_1af4,
                device_name: "disk0".into(),
            }
        },
    )
}

fn is_pending(state: &CrosvmMsixState, vector: usize) -> bool {
    state.pba_entries[vector / 64] & 1 << (vector % 64) != 0
}

/// Where a driver of crosvm's guest would read them.
fn registers(state: &CrosvmMsixState) -> Vec<u32> {
    let entry = |entry: &CrosvmTableEntry| {
        [entry.msg_addr_lo & !3, entry.msg_addr_hi, entry.msg_data, entry.vector_ctl & 1]
    };
    state.table_entries.iter().flat_map(entry).collect()
}

fn expect_the_same(state: CrosvmMsixState) {
    let count = state.msix_num;
    let surplus = (usize::from(count)..64 * state.pba_entries.len()).any(|v| is_pending(&state, v));
    let Ok(converted) = MsixStateV1::try_from(state.clone()) else {
        return assert!(surplus, "refused without a reason");
    };
    assert!(!surplus);
    let backend = MockBackend::new(count).unwrap();
    let mut msix = function(count, &backend);
    msix.pause();
    msix.restore(&converted).unwrap();
    assert_eq!((msix.enabled(), msix.masked()), (state.enabled, state.masked));
    assert_eq!(table(&msix), registers(&state));
    assert_eq!(pba(&msix), state.pba_entries);
    assert!(backend.take_sent().is_empty());

    // What may leave leaves once, in crosvm's order; the rest when MSI-X lets it.
    msix.resume();
    let may = |open: bool, v: &usize| {
        open && is_pending(&state, *v) && state.table_entries[*v].vector_ctl & 1 == 0
    };
    let all = 0..usize::from(count);
    let sent: Vec<_> = backend.take_sent().into_iter().map(|(v, _)| usize::from(v)).collect();
    let open = state.enabled && !state.masked;
    assert_eq!(sent, all.clone().filter(|v| may(open, v)).collect::<Vec<_>>());
    control(&mut msix, 0x8000);
    let late: Vec<_> = backend.take_sent().into_iter().map(|(v, _)| usize::from(v)).collect();
    assert_eq!(late, all.filter(|v| may(!open, v)).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn c14_any_state_of_crosvm_that_converts_shows_the_same_registers_and_pending_bits(
        state in any_state()
    ) {
        expect_the_same(state);
    }
}
