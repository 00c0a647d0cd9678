//! The saved state: what the guest programmed and what is pending, and nothing of the host (C14).

use alloc::string::String;
use alloc::vec::Vec;

use crate::MsiMessage;
use crate::error::StateError;
use crate::spec;
use crate::table::TableEntry;
use crate::vector::VectorCount;

/// A function's MSI-X as a snapshot holds it, version 1.
///
/// Plain data, open to be stored in any form; what comes back is untrusted, and
/// [`restore`](crate::MsixConfig::restore) validates all of it before it touches anything.
///
/// It holds meaning, not register bits: what the registers cannot hold, it mostly cannot say.
///
/// With the feature `serde`, reading stops at the first vector too many, so the vectors claim no memory that the input does
/// not pay for. A name is as long as the input has it: who reads from another's stream bounds the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct MsixStateV1 {
    /// Device ID and Vendor ID of the function that was saved.
    pub pci_id: u32,
    /// Name of the device that was saved.
    pub device_name: String,
    /// MSI-X Enable.
    pub enabled: bool,
    /// Function Mask.
    pub function_masked: bool,
    /// Whether the function may write to memory (Bus Master Enable).
    pub bus_master: bool,
    /// The vectors in order, 1 to 2048.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::bounded::vectors"))]
    pub vectors: Vec<VectorStateV1>,
}

/// One vector in a [`MsixStateV1`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct VectorStateV1 {
    /// Message Upper Address and Message Address, joined; a multiple of 4.
    pub address: u64,
    /// Message Data.
    pub data: u32,
    /// The Mask Bit.
    pub masked: bool,
    /// The Pending Bit: a signal that is yet to be delivered.
    pub pending: bool,
}

impl VectorStateV1 {
    pub(crate) fn new(entry: &TableEntry, pending: bool) -> Self {
        let MsiMessage { address, data } = entry.message();
        Self { address, data, masked: entry.masked, pending }
    }

    pub(crate) fn entry(&self) -> TableEntry {
        let Self { address, data, masked, pending: _ } = *self;
        TableEntry::new(MsiMessage::new(address, data), masked)
    }
}

impl MsixStateV1 {
    /// Checks everything, for a function that is so.
    pub(crate) fn validate(
        &self,
        vectors: VectorCount,
        pci_id: u32,
        device_name: &str,
    ) -> Result<(), StateError> {
        // Enable, Function Mask and bus mastering are legal in every combination.
        let Self { pci_id: saved_id, device_name: saved_name, vectors: saved, .. } = self;
        if saved.len() != vectors.as_usize() {
            return Err(StateError::VectorCount { saved: saved.len(), vectors: vectors.get() });
        }
        if *saved_id != pci_id {
            return Err(StateError::PciId { saved: *saved_id, pci_id });
        }
        if saved_name != device_name {
            return Err(StateError::DeviceName {
                saved: saved_name.chars().take(64).collect(),
                device_name: device_name.into(),
            });
        }
        let unaligned = u64::from(!spec::ADDRESS_LOW_WRITABLE);
        match vectors.indices().zip(saved).find(|(_, vector)| vector.address & unaligned != 0) {
            Some((vector, state)) => {
                Err(StateError::Address { vector: vector.get(), address: state.address })
            }
            None => Ok(()),
        }
    }
}
