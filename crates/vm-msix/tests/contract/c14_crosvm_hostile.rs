//! C14, C10: what pretends to be crosvm's is as little trusted: refused with what is wrong, or taken.

use super::c14_crosvm::{SAVED, meaning, saved};
use crate::support::endless::Endless;
use crate::support::format::json_as_cbor;
use crate::support::guest::{function, pba, table};
use serde_json::{Value, json};
use vm_msix::test_utils::MockBackend;
use vm_msix::{CrosvmMsixState, CrosvmTableEntry, MsixStateV1, StateError};

type Break = fn(&mut CrosvmMsixState);

const MASKED: CrosvmTableEntry =
    CrosvmTableEntry { msg_addr_lo: 0, msg_addr_hi: 0, msg_data: 0, vector_ctl: 1 };

/// One field broken at a time, what is wrong, and how it is said.
const BROKEN: [(Break, StateError, &str); 12] = [
    (
        |state| state.msix_num = 0,
        StateError::NoSuchCount { vectors: 0 },
        "it is of a function with 0 vectors: a function has 1 to 2048",
    ),
    (
        |state| state.msix_num = 2049,
        StateError::NoSuchCount { vectors: 2049 },
        "it is of a function with 2049 vectors: a function has 1 to 2048",
    ),
    (
        |state| state.msix_num = u16::MAX,
        StateError::NoSuchCount { vectors: 65_535 },
        "it is of a function with 65535 vectors: a function has 1 to 2048",
    ),
    (
        |state| state.msix_num = 4,
        StateError::TableLength { entries: 3, vectors: 4 },
        "its table has 3 entries, for 4 vectors",
    ),
    (
        |state| state.table_entries.truncate(2),
        StateError::TableLength { entries: 2, vectors: 3 },
        "its table has 2 entries, for 3 vectors",
    ),
    (
        |state| state.table_entries.clear(),
        StateError::TableLength { entries: 0, vectors: 3 },
        "its table has 0 entries, for 3 vectors",
    ),
    (
        |state| state.table_entries.resize(65_539, MASKED),
        StateError::TableLength { entries: 65_539, vectors: 3 },
        "its table has 65539 entries, for 3 vectors",
    ),
    (
        |state| state.pba_entries.clear(),
        StateError::PbaLength { qwords: 0, vectors: 3 },
        "its PBA has 0 QWORDs, for 3 vectors",
    ),
    (
        |state| state.pba_entries.push(0),
        StateError::PbaLength { qwords: 2, vectors: 3 },
        "its PBA has 2 QWORDs, for 3 vectors",
    ),
    (
        |state| state.pba_entries[0] |= 1 << 3,
        StateError::PendingBits { qword: 0, surplus: 0x8, vectors: 3 },
        "QWORD 0 of its PBA has bits 0x8 set, which no vector of 3 has",
    ),
    (
        |state| state.pba_entries[0] = u64::MAX,
        StateError::PendingBits { qword: 0, surplus: !0x7, vectors: 3 },
        "QWORD 0 of its PBA has bits 0xfffffffffffffff8 set, which no vector of 3 has",
    ),
    (
        |state| {
            state.msix_num = 65;
            state.table_entries.resize(65, MASKED);
            state.pba_entries = vec![u64::MAX, 0b11];
        },
        StateError::PendingBits { qword: 1, surplus: 0b10, vectors: 65 },
        "QWORD 1 of its PBA has bits 0x2 set, which no vector of 65 has",
    ),
];

fn state() -> CrosvmMsixState {
    serde_json::from_str(SAVED).unwrap()
}

#[test]
fn c14_every_field_of_crosvms_that_is_wrong_is_a_typed_error() {
    for (broken, expected, text) in BROKEN {
        let mut state = state();
        broken(&mut state);
        let error = MsixStateV1::try_from(state).unwrap_err();
        assert_eq!(error, expected);
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(MsixStateV1::try_from(state()).unwrap(), meaning());
}

/// The numbers of vectors at which the PBA grows by a QWORD, each with every bit of it set.
#[test]
fn c14_crosvms_pba_is_taken_to_its_last_bit() {
    for count in [1_u16, 63, 64, 65, 128, 2047, 2048] {
        let mut pba_entries = vec![u64::MAX; usize::from(count.div_ceil(64))];
        if count % 64 != 0 {
            *pba_entries.last_mut().unwrap() = (1 << (count % 64)) - 1;
        }
        let table_entries = vec![MASKED; usize::from(count)];
        let state = CrosvmMsixState {
            table_entries,
            pba_entries: pba_entries.clone(),
            msix_num: count,
            ..state()
        };
        let mut msix = function(count, MockBackend::new(count).unwrap());
        msix.restore(&state.try_into().unwrap()).unwrap();
        assert_eq!(pba(&msix), pba_entries, "{count}");
    }
}

/// Replaces a value and reads the result, in both formats.
fn is_read_with(pointer: &str, value: &Value) -> bool {
    let mut state = saved();
    *state.pointer_mut(pointer).unwrap() = value.clone();
    let from_cbor = ciborium::from_reader::<CrosvmMsixState, _>(&*json_as_cbor(&state)).is_ok();
    let from_json = serde_json::from_value::<CrosvmMsixState>(state).is_ok();
    assert_eq!(from_json, from_cbor, "{pointer}: {value}");
    from_json
}

#[test]
fn c14_a_value_of_crosvms_of_another_type_or_out_of_range_is_refused_while_it_is_read() {
    for (pointer, values) in [
        ("/pci_id", vec![json!(-1), json!(1_u64 << 32), json!("1"), Value::Null]),
        ("/device_name", vec![json!(1), Value::Null]),
        ("/enabled", vec![json!(1), json!("true"), Value::Null]),
        ("/masked", vec![json!(0), Value::Null]),
        ("/msix_num", vec![json!(-1), json!(65_536), json!("3"), Value::Null]),
        ("/pba_entries", vec![json!({}), json!(2), json!(["2"]), json!([-1]), Value::Null]),
        ("/table_entries", vec![json!({}), json!([1]), json!([[]]), json!("x"), Value::Null]),
        ("/table_entries/1/msg_addr_lo", vec![json!(1_u64 << 32), json!(-4), Value::Null]),
        ("/table_entries/1/msg_addr_hi", vec![json!(1_u64 << 32), json!("0"), Value::Null]),
        ("/table_entries/1/msg_data", vec![json!(1_u64 << 32), Value::Null]),
        ("/table_entries/1/vector_ctl", vec![json!(1_u64 << 32), json!(true), Value::Null]),
        ("/irq_gsi_vec", vec![json!(1), json!("x"), json!({})]),
    ] {
        for value in values {
            assert!(!is_read_with(pointer, &value), "{pointer}: {value}");
        }
    }
}

#[test]
fn c14_a_field_of_crosvms_that_is_missing_is_named() {
    for (parent, name) in [
        ("", "table_entries"),
        ("", "pba_entries"),
        ("", "masked"),
        ("", "enabled"),
        ("", "msix_num"),
        ("", "pci_id"),
        ("", "device_name"),
        ("/table_entries/2", "msg_addr_lo"),
        ("/table_entries/2", "msg_addr_hi"),
        ("/table_entries/2", "msg_data"),
        ("/table_entries/2", "vector_ctl"),
    ] {
        let mut state = saved();
        state.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        let error = serde_json::from_value::<CrosvmMsixState>(state).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn c10_crosvms_lists_are_read_to_the_most_that_they_may_hold_and_no_further() {
    let entry = json!({ "msg_addr_lo": 0, "msg_addr_hi": 0, "msg_data": 0, "vector_ctl": 1 });
    for (list, element, most) in [
        ("table_entries", entry, 2048),
        ("pba_entries", json!(0), 32),
        ("irq_gsi_vec", json!(null), 2048),
    ] {
        let pointer = format!("/{list}");
        assert!(is_read_with(&pointer, &json!(vec![element.clone(); most])), "{list}");
        assert!(!is_read_with(&pointer, &json!(vec![element.clone(); most + 1])), "{list}");

        let head = format!(r#"{{"{list}":["#);
        let element = format!("{element},");
        let bytes = head.len() + (most + 2) * element.len();
        let mut endless = Endless::new(head, element);
        let error = serde_json::from_reader::<_, CrosvmMsixState>(&mut endless).unwrap_err();
        assert!(error.to_string().contains(&format!("at most {most} ")), "{error}");
        assert!(endless.read <= bytes, "{list}: {} bytes", endless.read);
    }
}

#[test]
fn c10_a_count_of_crosvms_that_the_input_does_not_keep_takes_no_memory() {
    for name in ["table_entries", "pba_entries", "irq_gsi_vec", "a_field_to_come"] {
        for claim in [1_u64 << 60, u64::MAX, 1 << 32] {
            for major in [0x40, 0x60, 0x80, 0xa0] {
                let head = [0xa1, 0x60 | name.len() as u8];
                let count = claim.to_be_bytes();
                let bytes = [&head[..], name.as_bytes(), &[major | 27], &count, &[0, 0]].concat();
                assert!(ciborium::from_reader::<CrosvmMsixState, _>(&*bytes).is_err(), "{name}");
            }
        }
    }
}

#[test]
fn c14_crosvms_cbor_that_is_cut_off_is_refused_while_it_is_read() {
    let cbor = json_as_cbor(&saved());
    for len in 0..cbor.len() {
        assert!(ciborium::from_reader::<CrosvmMsixState, _>(&cbor[..len]).is_err(), "{len}");
    }
}

#[test]
fn c14_crosvms_cbor_with_any_byte_damaged_is_refused_or_taken() {
    let cbor = json_as_cbor(&saved());
    let mut msix = function(3, MockBackend::new(3).unwrap());
    let (mut unreadable, mut no_state, mut refused, mut restored) = (0, 0, 0, 0);
    for at in 0..cbor.len() {
        let mut bytes = cbor.clone();
        for flip in 1..=u8::MAX {
            bytes[at] = cbor[at] ^ flip;
            let Ok(state) = ciborium::from_reader::<CrosvmMsixState, _>(&*bytes) else {
                unreadable += 1;
                continue;
            };
            let Ok(state) = MsixStateV1::try_from(state) else {
                no_state += 1;
                continue;
            };
            let before = table(&msix);
            match msix.restore(&state) {
                Ok(()) => restored += 1,
                Err(_) => {
                    refused += 1;
                    assert_eq!(table(&msix), before);
                }
            }
            msix.restore(&meaning()).unwrap();
            assert_eq!(msix.snapshot(), meaning());
        }
    }
    assert!([unreadable, no_state, refused, restored].iter().all(|seen| *seen > 0));
}

#[test]
fn c10_what_is_read_past_of_crosvms_may_be_as_deep_as_it_likes() {
    const DEPTH: usize = 200_000;
    for name in ["irq_gsi_vec", "a_field_to_come"] {
        let deep = format!(r#""{name}":[{}{}],"enabled""#, "[".repeat(DEPTH), "]".repeat(DEPTH));
        let mut value = saved();
        value.as_object_mut().unwrap().remove("irq_gsi_vec");
        let json = value.to_string().replacen(r#""enabled""#, &deep, 1);
        assert_eq!(serde_json::from_str::<CrosvmMsixState>(&json).unwrap(), state(), "{name}");

        let head = [0xa1, 0x60 | name.len() as u8];
        let cbor = [&head[..], name.as_bytes(), &[0x81; DEPTH], &[0xf6]].concat();
        assert!(ciborium::from_reader::<CrosvmMsixState, _>(&*cbor).is_err(), "{name}");
    }
}
