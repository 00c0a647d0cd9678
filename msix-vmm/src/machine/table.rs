//! Programming the MSI-X table, as a driver's set-up does.

use super::{MAX_ENTRIES, MachineError};

/// What happens to the Mask Bit after an entry's message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MaskBit {
    /// Vector Control is not written.
    Keep,
    /// Vector Control is written with the Mask Bit clear: the entry opens.
    Clear,
    /// Vector Control is written with the Mask Bit set.
    Set,
}

/// Consecutive table entries to program, each with the next IDT vector of one CPU.
///
/// An entry gets three or four DWORD writes in this order: Message Address, Message Upper
/// Address, Message Data and, unless [`MaskBit::Keep`], Vector Control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProgramTable {
    /// Where entry 0 is: [`Enumeration::table_address`](super::Enumeration::table_address).
    pub(crate) table_address: u64,
    /// The first entry to program.
    pub(crate) first_entry: u16,
    /// How many entries.
    pub(crate) count: u16,
    /// The IDT vector of the first entry; the others count from it.
    pub(crate) first_vector: u8,
    /// The APIC ID of the CPU that takes the interrupts.
    pub(crate) destination: u8,
    /// The Mask Bit afterwards.
    pub(crate) mask: MaskBit,
}

/// The bytes of one table entry (PCIe Base 7.7.2.5).
pub(super) const ENTRY_BYTES: u64 = 16;

impl ProgramTable {
    /// Refuses entries past the largest table and vectors past the IDT.
    pub(super) fn validate(&self) -> Result<(), MachineError> {
        let last_vector = u32::from(self.first_vector) + u32::from(self.count);
        let last_entry = u32::from(self.first_entry) + u32::from(self.count);
        if last_vector > 0x100 || last_entry > u32::from(MAX_ENTRIES) {
            return Err(MachineError::TableRequest { request: *self });
        }
        Ok(())
    }

    /// The Message Address: the destination's LAPIC, fixed physical (Intel SDM 12.11.1).
    pub(super) fn message_address(&self) -> u32 {
        0xfee0_0000 | u32::from(self.destination) << 12
    }
}
