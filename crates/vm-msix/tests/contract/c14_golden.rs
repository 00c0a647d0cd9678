//! C14: states of version 1 in three formats. What was written once is read for ever, and written so today.
//!
//! The files are not of the serialisers here: they were put together byte by byte, after the formats' specifications.

use crate::support::format::Format;
use crate::support::guest::{pba, table};
use vm_msix::test_utils::MockBackend;
use vm_msix::{MsixConfig, MsixStateV1, VectorStateV1};

/// A state, and its files in the order of [`Format::ALL`]; they are never to be changed.
pub(super) struct Golden {
    pub(super) name: &'static str,
    pub(super) state: fn() -> MsixStateV1,
    files: [&'static [u8]; 3],
}

macro_rules! golden {
    ($name:literal, $state:expr) => {
        Golden {
            name: $name,
            state: $state,
            files: [
                include_bytes!(concat!("../data/v1-", $name, ".json")),
                include_bytes!(concat!("../data/v1-", $name, ".cbor")),
                include_bytes!(concat!("../data/v1-", $name, ".postcard")),
            ],
        }
    };
}

pub(super) const RESET: Golden = golden!("reset", reset);
pub(super) const MIXED: Golden = golden!("mixed", mixed);
pub(super) const LARGEST: Golden = golden!("largest", largest);
const GOLDENS: [Golden; 3] = [RESET, MIXED, LARGEST];

impl Golden {
    /// The files, without the line end of the text.
    pub(super) fn files(&self) -> impl Iterator<Item = (Format, &'static [u8])> {
        Format::ALL.into_iter().zip(self.files).map(|(format, file)| match format {
            Format::Json => (format, file.trim_ascii_end()),
            Format::Cbor | Format::Postcard => (format, file),
        })
    }
}

/// A function that works, with these vectors.
pub(super) fn working(vectors: Vec<VectorStateV1>) -> MsixStateV1 {
    MsixStateV1 {
        pci_id: 0x1042_1af4,
        device_name: "disk0".into(),
        enabled: true,
        function_masked: false,
        bus_master: true,
        vectors,
    }
}

pub(super) const fn vector(address: u64, data: u32, masked: bool, pending: bool) -> VectorStateV1 {
    VectorStateV1 { address, data, masked, pending }
}

/// One vector, after reset.
fn reset() -> MsixStateV1 {
    MsixStateV1 {
        pci_id: 0x1042_1af4,
        device_name: "disk0".into(),
        enabled: false,
        function_masked: false,
        bus_master: true,
        vectors: vec![vector(0, 0, true, false)],
    }
}

/// What differs from it in every field, with addresses that are no doorbell.
fn mixed() -> MsixStateV1 {
    MsixStateV1 {
        pci_id: 0x1041_1af4,
        device_name: "nét-0".into(),
        enabled: true,
        function_masked: true,
        bus_master: false,
        vectors: vec![
            vector(0xfee0_1000, 0x41, false, false),
            vector(0xffff_ffff_ffff_fffc, 0xffff_ffff, true, true),
            vector(0, 0, true, false),
            vector(0x0010_0004, 0x8000_0000, false, true),
            vector(0x1_fee0_0000, 24, false, false),
        ],
    }
}

/// As many vectors as there can be, each another one.
fn largest() -> MsixStateV1 {
    let each = |index: u32| {
        let address = u64::from(index / 256) << 32 | 0xfee0_0000 | u64::from(index % 256) << 12;
        vector(address, 0x4000 + index, index.is_multiple_of(3), index.is_multiple_of(5))
    };
    MsixStateV1 {
        pci_id: 0xffff_ffff,
        device_name: "net0".into(),
        enabled: true,
        function_masked: false,
        bus_master: true,
        vectors: (0..2048).map(each).collect(),
    }
}

#[test]
fn c14_every_golden_file_reads_as_what_it_was() {
    for golden in GOLDENS {
        for (format, file) in golden.files() {
            let read = format.read(file).unwrap();
            assert_eq!(read, (golden.state)(), "{} {format:?}", golden.name);
        }
    }
}

#[test]
fn c14_every_golden_file_is_what_is_written_today() {
    for golden in GOLDENS {
        for (format, file) in golden.files() {
            let written = format.write(&(golden.state)());
            assert!(written == file, "{} {format:?}", golden.name);
        }
    }
}

#[test]
fn c14_every_golden_file_restores_into_the_registers_and_is_saved_again_as_it_was() {
    for golden in GOLDENS {
        for (format, file) in golden.files() {
            let state = format.read(file).unwrap();
            let count = state.vectors.len() as u16;
            let backend = MockBackend::new(count).unwrap();
            let mut msix =
                MsixConfig::new(count, &backend, state.pci_id, &*state.device_name).unwrap();
            // Nothing leaves, so that what is pending is seen.
            msix.pause();
            msix.restore(&state).unwrap();
            assert_eq!(table(&msix), registers(&state), "{} {format:?}", golden.name);
            assert_eq!(pba(&msix), pending_bits(&state), "{} {format:?}", golden.name);
            assert_eq!(format.write(&msix.snapshot()), file, "{} {format:?}", golden.name);
        }
    }
}

/// The table as DWORDs.
pub(super) fn registers(state: &MsixStateV1) -> Vec<u32> {
    let entry = |vector: &VectorStateV1| {
        let (low, high) = (vector.address as u32, (vector.address >> 32) as u32);
        [low, high, vector.data, u32::from(vector.masked)]
    };
    state.vectors.iter().flat_map(entry).collect()
}

/// The PBA as QWORDs.
pub(super) fn pending_bits(state: &MsixStateV1) -> Vec<u64> {
    let qword = |vectors: &[VectorStateV1]| {
        vectors.iter().rev().fold(0, |bits, vector| bits << 1 | u64::from(vector.pending))
    };
    state.vectors.chunks(64).map(qword).collect()
}
