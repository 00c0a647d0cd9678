//! Configuration space by its numbers, for whoever reaches it as a guest does.
//!
//! vm-pci-config keeps its own: these tell what it gets right.

// The ports through which it is reached (PCI Local Bus 3.0, 3.2.2.3.2).
pub(crate) const ADDRESS_PORT: u16 = 0xcf8;
pub(crate) const DATA_PORT: u16 = 0xcfc;

// Registers (PCIe Base 7.5.1).
pub(crate) const COMMAND: u16 = 0x04;
pub(crate) const BAR0: u16 = 0x10;
pub(crate) const CAPABILITIES: u16 = 0x34;

/// Command: Memory Space Enable.
pub(crate) const MEMORY: u16 = 1 << 1;
/// Command: Bus Master Enable.
pub(crate) const BUS_MASTER: u16 = 1 << 2;

/// The MSI-X Capability's ID.
pub(crate) const MSIX: u8 = 0x11;

/// What the address port is told, for the register of this offset to appear at the data port; the device is on bus 0.
pub(crate) fn address(slot: impl Into<u32>, offset: impl Into<u32>) -> u32 {
    1 << 31 | slot.into() << 11 | offset.into() & !3
}
