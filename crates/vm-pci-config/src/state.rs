//! The saved state: what the guest wrote into configuration space, and nothing of what the VMM described.

use crate::spec::REGISTERS;

/// Registers in a row: the header has one row, the rest is for capabilities.
const ROW: usize = 16;
/// Rows of the 256 bytes.
const ROWS: usize = REGISTERS / ROW;

/// A configuration space as a snapshot holds it, version 1.
///
/// Plain data, open to be stored in any form; what comes back is untrusted, and
/// [`restore`](crate::PciConfigSpace::restore) validates all of it before it changes anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct PciConfigStateV1 {
    /// Device ID and Vendor ID of the function that was saved.
    pub pci_id: u32,
    /// Of each DWORD register the bits that a guest can change, zero in all others; in rows of 64 bytes, the header first.
    pub registers: [[u32; ROW]; ROWS],
}

/// Registers as a state holds them. Rows of 16 have a serde form, which an array of 64 has not.
pub(crate) fn rows(registers: [u32; REGISTERS]) -> [[u32; ROW]; ROWS] {
    let mut rows = [[0; ROW]; ROWS];
    rows.as_flattened_mut().copy_from_slice(&registers);
    rows
}

/// Registers of a state, one after the other.
pub(crate) fn flat(rows: &[[u32; ROW]; ROWS]) -> [u32; REGISTERS] {
    let mut registers = [0; REGISTERS];
    registers.copy_from_slice(rows.as_flattened());
    registers
}
