//! How the IDT is shared out: which vectors are a device's, and which table entry they mean.

/// The first IDT vector of the device.
pub(crate) const FIRST_DEVICE_VECTOR: u8 = 0x30;

/// How many consecutive IDT vectors are the device's: the most entries of one wave.
pub(crate) const DEVICE_VECTORS: u16 = 200;

/// The most entries an MSI-X table has (PCIe Base 7.7.2.2: 11 bits, N-1).
pub(crate) const MAX_ENTRIES: u16 = 2048;

/// The vector by which the host wakes a halted CPU.
///
/// The lowest priority class in use: a LAPIC delivers all device interrupts it has accepted
/// first. So when its handler runs, they have been handled.
pub(super) const WAKE_VECTOR: u8 = 0x20;

/// The first vector that is not an exception (Intel SDM volume 3, 7.2).
pub(super) const FIRST_INTERRUPT_VECTOR: u8 = 0x20;

/// The table entry that `vector` belongs to when the wave starts at `first_entry`.
pub(super) fn entry_of(vector: u8, first_entry: u16) -> Option<u16> {
    let offset = u16::from(vector.checked_sub(FIRST_DEVICE_VECTOR)?);
    if offset >= DEVICE_VECTORS {
        return None;
    }
    first_entry.checked_add(offset).filter(|&entry| entry < MAX_ENTRIES)
}
