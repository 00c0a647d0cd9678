//! The two bits of Message Control that software writes (PCIe Base 7.7.2.2).

use crate::spec;

/// MSI-X Enable and Function Mask. Table Size and the reserved bits are the capability's and never change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MessageControl {
    pub(crate) enabled: bool,
    pub(crate) function_masked: bool,
}

/// What a legal write into the capability writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CapabilityWrite {
    /// The byte with the two bits, among others perhaps.
    Control(MessageControl),
    /// Read-only bytes.
    ReadOnly,
}

impl MessageControl {
    /// Puts the two bits over the first DWORD of the capability, where they are the top two.
    pub(crate) fn overlay(self, dword: u32) -> u32 {
        let [id, next, low, high] = dword.to_le_bytes();
        let both = spec::CONTROL_HIGH_ENABLE | spec::CONTROL_HIGH_FUNCTION_MASK;
        u32::from_le_bytes([id, next, low, high & !both | self.high_byte()])
    }

    fn from_high_byte(byte: u8) -> Self {
        Self {
            enabled: byte & spec::CONTROL_HIGH_ENABLE != 0,
            function_masked: byte & spec::CONTROL_HIGH_FUNCTION_MASK != 0,
        }
    }

    fn high_byte(self) -> u8 {
        let enable = if self.enabled { spec::CONTROL_HIGH_ENABLE } else { 0 };
        let mask = if self.function_masked { spec::CONTROL_HIGH_FUNCTION_MASK } else { 0 };
        enable | mask
    }
}

impl CapabilityWrite {
    /// Reads a write of these bytes at this offset of the capability.
    ///
    /// Guests write Message Control as a byte, as the word at offset 2, or as the DWORD at offset 0
    /// (Windows): only the byte that holds the two bits counts, not the width. `None` if configuration space
    /// cannot make such a write: it makes 1, 2 or 4 bytes, and 3 where it cuts a DWORD that crosses a register's
    /// end; all of them inside the capability.
    pub(crate) fn of(offset: u64, data: &[u8]) -> Option<Self> {
        let len = u64::try_from(data.len()).ok()?;
        let end = offset.checked_add(len)?;
        if !matches!(len, 1..=4) || end > spec::CAPABILITY_SIZE {
            return None;
        }
        let high = spec::CONTROL_HIGH_BYTE
            .checked_sub(offset)
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| data.get(index));
        Some(match high {
            Some(&byte) => Self::Control(MessageControl::from_high_byte(byte)),
            None => Self::ReadOnly,
        })
    }
}
