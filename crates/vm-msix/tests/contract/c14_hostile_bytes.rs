//! C14, C10: stored states that were cut off, damaged, or made to claim more than they hold.

use super::c14_golden::{Golden, LARGEST, MIXED, RESET, registers};
use crate::support::endless::Endless;
use crate::support::format::Format;
use crate::support::guest::{NONE, bring_up, message, table, unsynced};
use vm_msix::test_utils::MockBackend;
use vm_msix::{MsixConfig, MsixStateV1, Signal};

/// More elements than any memory holds, and as many as some hold.
const CLAIMS: [u64; 4] = [1 << 60, u64::MAX, 1 << 40, 1 << 32];

#[test]
fn c14_every_state_that_is_cut_off_is_refused_while_it_is_read() {
    for golden in [RESET, MIXED] {
        for (format, file) in golden.files() {
            for len in 0..file.len() {
                assert!(format.read(&file[..len]).is_err(), "{} {format:?} {len}", golden.name);
            }
        }
    }
    for (format, file) in LARGEST.files() {
        for len in (0..file.len()).step_by(1009).chain(file.len() - 20..file.len()) {
            assert!(format.read(&file[..len]).is_err(), "{format:?} {len}");
        }
    }
}

/// What became of damaged states.
#[derive(Debug, Default)]
struct Seen {
    unreadable: usize,
    refused: usize,
    restored: usize,
}

/// A function as the golden state is of, in use, and what it sends.
fn function_of<'a>(state: &MsixStateV1, backend: &'a MockBackend) -> MsixConfig<&'a MockBackend> {
    let count = state.vectors.len() as u16;
    MsixConfig::new(count, backend, state.pci_id, &*state.device_name).unwrap()
}

fn damage(golden: &Golden, format: Format, file: &[u8]) -> Seen {
    let whole = (golden.state)();
    let backend = MockBackend::new(whole.vectors.len() as u16).unwrap();
    let mut msix = function_of(&whole, &backend);
    let mut seen = Seen::default();
    let mut bytes = file.to_vec();
    for at in 0..file.len() {
        for flip in 1..=u8::MAX {
            bytes[at] = file[at] ^ flip;
            let Ok(state) = format.read(&bytes) else {
                seen.unreadable += 1;
                continue;
            };
            let before = msix.snapshot();
            match msix.restore(&state) {
                Ok(()) => {
                    seen.restored += 1;
                    assert_eq!(table(&msix), registers(&state), "{format:?} {at} {flip:#x}");
                }
                Err(_) => {
                    seen.refused += 1;
                    assert_eq!(msix.snapshot(), before, "{format:?} {at} {flip:#x}");
                }
            }
            expect_to_work(&mut msix, &backend);
        }
        bytes[at] = file[at];
    }
    seen
}

/// A driver that starts anew gets each interrupt once.
fn expect_to_work(msix: &mut MsixConfig<&MockBackend>, backend: &MockBackend) {
    msix.reset();
    msix.set_bus_master(true);
    bring_up(msix);
    backend.take_sent();
    for vector in 0..msix.num_vectors() {
        assert_eq!(msix.trigger(vector).unwrap(), Signal::Sent);
        assert_eq!(backend.take_sent(), [(vector, message(vector))]);
    }
    assert_eq!(unsynced(msix), NONE);
}

#[test]
fn c14_a_state_with_any_byte_damaged_is_refused_or_taken_and_the_function_works_on() {
    for golden in [RESET, MIXED] {
        for (format, file) in golden.files() {
            let seen = damage(&golden, format, file);
            // Each of the three was met: a value is changed, an identity is, and the structure is.
            assert!(
                seen.unreadable > 0 && seen.refused > 0 && seen.restored > 0,
                "{} {format:?}: {seen:?}",
                golden.name
            );
        }
    }
}

/// A CBOR head: of an array by 0x80, of text by 0x60, of a map by 0xa0 (RFC 8949, 3.1), with a count of 8 bytes.
fn cbor_head(major: u8, count: u64) -> Vec<u8> {
    [&[major | 27][..], &count.to_be_bytes()].concat()
}

/// As postcard counts: 7 bits a byte, the lowest first.
fn varint(mut count: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while count >= 0x80 {
        bytes.push(count as u8 | 0x80);
        count >>= 7;
    }
    bytes.push(count as u8);
    bytes
}

/// The file with one part of it, which is there once, replaced.
fn replaced(file: &[u8], part: &[u8], by: &[u8]) -> Vec<u8> {
    let at = file.windows(part.len()).position(|window| window == part).unwrap();
    [&file[..at], by, &file[at + part.len()..]].concat()
}

fn golden_in(format: Format) -> &'static [u8] {
    MIXED.files().find(|(of, _)| *of == format).unwrap().1
}

#[test]
fn c14_a_count_that_the_input_does_not_keep_is_an_error_and_takes_no_memory() {
    let cbor = golden_in(Format::Cbor);
    let postcard = golden_in(Format::Postcard);
    // In their place, what is claimed is true.
    assert!(Format::Cbor.read(&replaced(cbor, b"vectors\x85", b"vectors\x98\x05")).is_ok());
    for claim in CLAIMS {
        let vectors = [&b"vectors"[..], &cbor_head(0x80, claim)].concat();
        let name = [&b"device_name"[..], &cbor_head(0x60, claim)].concat();
        let fields = cbor_head(0xa0, claim);
        let vector = cbor_head(0xa0, claim);
        for bytes in [
            replaced(cbor, b"vectors\x85", &vectors),
            replaced(cbor, b"device_name\x66", &name),
            replaced(cbor, b"\xa6", &fields),
            replaced(cbor, b"\xa4", &vector),
        ] {
            assert!(Format::Cbor.read(&bytes).is_err(), "{claim:#x}");
        }
        // The three control bits, then the count of vectors; and the name's count of bytes.
        for bytes in [
            replaced(
                postcard,
                b"\x01\x01\x00\x05",
                &[&b"\x01\x01\x00"[..], &varint(claim)].concat(),
            ),
            replaced(postcard, b"\x06n", &[&varint(claim)[..], b"n"].concat()),
        ] {
            assert!(Format::Postcard.read(&bytes).is_err(), "{claim:#x}");
        }
    }
}

#[test]
fn c10_cbor_without_end_is_refused_at_the_first_vector_too_many() {
    let cbor = golden_in(Format::Cbor);
    let end = cbor.windows(8).position(|window| window == b"vectors\x85").unwrap() + 7;
    let element = b"\xa4\x67address\x00\x64data\x00\x66masked\xf5\x67pending\xf4";
    for count in CLAIMS.map(|claim| cbor_head(0x80, claim)).into_iter().chain([vec![0x9f]]) {
        let head = [&cbor[..end], &count].concat();
        let most = head.len() + 2049 * element.len();
        let mut endless = Endless::new(head, element);
        let error = ciborium::from_reader::<MsixStateV1, _>(&mut endless).unwrap_err();
        assert!(error.to_string().contains("at most 2048 vectors"), "{error}");
        assert!(endless.read <= most, "{} bytes", endless.read);
    }
}

#[test]
fn c10_postcard_with_more_vectors_than_there_can_be_is_refused() {
    let with = |vectors: usize| {
        let (pci_id, count) = (varint(0x1042_1af4), varint(vectors as u64));
        let head = [&pci_id[..], b"\x05disk0\x01\x00\x01", &count].concat();
        [head, [0, 0, 1, 0].repeat(vectors)].concat()
    };
    assert_eq!(Format::Postcard.read(&with(2048)).unwrap().vectors.len(), 2048);
    assert!(Format::Postcard.read(&with(2049)).is_err());
    assert!(Format::Postcard.read(&with(100_000)).is_err());
}
