//! Which accesses table and PBA take: aligned DWORD and aligned QWORD (PCIe Base 7.7.2), nothing else.

/// What a guest touched that it had no business to touch, as an observer is told.
///
/// The specification leaves the result undefined; here it is defined: a read gives zeros, a write does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalAccess {
    /// Where.
    pub region: Region,
    /// Reading or writing.
    pub direction: Direction,
    /// Offset from the start of the region, in bytes.
    pub offset: u64,
    /// Width, in bytes.
    pub len: usize,
}

/// A part of MSI-X that a guest reaches by an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Region {
    /// The MSI-X Capability structure in configuration space.
    Capability,
    /// The MSI-X Table.
    Table,
    /// The Pending Bit Array.
    Pba,
}

/// Which way an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the register to the guest.
    Read,
    /// From the guest to the register.
    Write,
}

impl core::fmt::Display for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Region::Capability => "MSI-X capability",
            Region::Table => "MSI-X Table",
            Region::Pba => "PBA",
        })
    }
}

/// Where an access lands, in units of its own width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// DWORD number so many of the region.
    Dword(u64),
    /// QWORD number so many of the region.
    Qword(u64),
}

impl Place {
    /// The place of a legal access; `None` for another width or a crooked offset.
    pub(crate) fn of(offset: u64, len: usize) -> Option<Self> {
        match len {
            4 if offset.is_multiple_of(4) => Some(Self::Dword(offset / 4)),
            8 if offset.is_multiple_of(8) => Some(Self::Qword(offset / 8)),
            _ => None,
        }
    }
}

/// What a write carries, by its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Dword(u32),
    /// Two registers at once, the lower one first.
    Qword(u32, u32),
}

impl Value {
    /// The value of a legal write; `None` for another width.
    pub(crate) fn of(data: &[u8]) -> Option<Self> {
        match *data {
            [a, b, c, d] => Some(Self::Dword(u32::from_le_bytes([a, b, c, d]))),
            [a, b, c, d, e, f, g, h] => Some(Self::Qword(
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
            )),
            _ => None,
        }
    }
}

/// Answers a read: the value where there is one, zeros over the whole buffer where there is none.
/// Tells whether there was one.
pub(crate) fn answer(data: &mut [u8], qword: Option<u64>) -> bool {
    let bytes = qword.unwrap_or(0).to_le_bytes();
    match bytes.get(..data.len()) {
        Some(bytes) => data.copy_from_slice(bytes),
        None => data.fill(0),
    }
    qword.is_some()
}
