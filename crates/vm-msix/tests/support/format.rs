//! Formats that a saved state is stored in: one of text, one that names its fields, and one that is nothing but values.

use serde_json::Value;
use vm_msix::MsixStateV1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Cbor,
    Postcard,
}

impl Format {
    pub(crate) const ALL: [Self; 3] = [Self::Json, Self::Cbor, Self::Postcard];

    pub(crate) fn read(self, bytes: &[u8]) -> Result<MsixStateV1, String> {
        match self {
            Self::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
            Self::Cbor => ciborium::from_reader(bytes).map_err(|error| error.to_string()),
            Self::Postcard => postcard::from_bytes(bytes).map_err(|error| error.to_string()),
        }
    }

    pub(crate) fn write(self, state: &MsixStateV1) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(state).unwrap(),
            Self::Cbor => cbor(state),
            Self::Postcard => postcard::to_allocvec(state).unwrap(),
        }
    }
}

fn cbor(state: &MsixStateV1) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(state, &mut bytes).unwrap();
    bytes
}

/// The same in CBOR.
pub(crate) fn json_as_cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}
