//! What an interrupt is on the bus: one DWORD written to one address.

/// A message: the memory write that a vector makes (PCIe Base 6.1.4).
///
/// Any address is legal. Guests do program addresses that no interrupt controller listens to:
/// Linux writes zeros first, and iPXE points its vectors at ordinary memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MsiMessage {
    /// Message Upper Address and Message Address, joined; the two lowest bits are zero.
    pub address: u64,
    /// Message Data.
    pub data: u32,
}

impl MsiMessage {
    /// A message from its parts.
    #[inline]
    pub const fn new(address: u64, data: u32) -> Self {
        Self { address, data }
    }

    /// The lower DWORD of the address.
    #[inline]
    pub fn address_low(&self) -> u32 {
        let [a, b, c, d, ..] = self.address.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The upper DWORD of the address.
    #[inline]
    pub fn address_high(&self) -> u32 {
        let [.., a, b, c, d] = self.address.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

/// Joins two DWORDs, the lower one first.
#[inline]
pub(crate) fn join(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}
