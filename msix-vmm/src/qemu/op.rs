//! What is done to both functions, one operation at a time.

use std::fmt;

use vm_msix::Region;

/// One operation. A sequence of them starts from a function that was just reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// The guest reads.
    Read(Access),
    /// The guest writes the low bytes of the value.
    Write(Access, u64),
    /// The guest programs a whole entry as Linux does: four DWORDs, Vector Control last.
    Program(u16, [u32; 4]),
    /// The device signals a vector.
    Trigger(u16),
    /// The guest sets or clears Bus Master Enable.
    BusMaster(bool),
    /// The guest resets the bus that the function is on, and sets it up again.
    Reset,
}

/// Where an access goes, and how wide it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) region: Region,
    pub(super) offset: u16,
    pub(super) width: Width,
}

/// The widths that a CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Byte,
    Word,
    Dword,
    Qword,
}

impl Width {
    pub(super) const ALL: [Self; 4] = [Self::Byte, Self::Word, Self::Dword, Self::Qword];

    pub(super) fn bytes(self) -> u16 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
        }
    }
}

impl Access {
    pub(super) fn new(region: Region, offset: u16, width: Width) -> Self {
        Self { region, offset, width }
    }

    /// An access of one DWORD of the table.
    pub(super) fn register(vector: u16, register: u16) -> Self {
        Self::new(Region::Table, vector * 16 + register * 4, Width::Dword)
    }

    /// The writes that program an entry, in their order.
    pub(super) fn programming(vector: u16, dwords: [u32; 4]) -> [(Self, u64); 4] {
        let [address, upper, data, control] = dwords;
        [(0, address), (1, upper), (2, data), (3, control)]
            .map(|(register, dword)| (Self::register(vector, register), dword.into()))
    }

    /// The first byte behind it.
    pub(super) fn end(&self) -> u16 {
        self.offset + self.width.bytes()
    }

    /// Whether it begins at a multiple of its width.
    pub(super) fn is_aligned(&self) -> bool {
        self.offset.is_multiple_of(self.width.bytes())
    }

    /// The aligned DWORDs that lie wholly in it, each with its place in the value in bits.
    pub(super) fn whole_dwords(&self) -> impl Iterator<Item = (Access, u16)> {
        let Self { region, offset, .. } = *self;
        (offset.next_multiple_of(4)..self.end())
            .step_by(4)
            .filter(move |at| at + 4 <= self.end())
            .map(move |at| (Self::new(region, at, Width::Dword), (at - offset) * 8))
    }

    /// The bytes of a value that it carries.
    pub(super) fn carried(&self, value: u64) -> Vec<u8> {
        value.to_le_bytes().into_iter().take(self.width.bytes().into()).collect()
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, offset, width } = self;
        let s = if *width == Width::Byte { "" } else { "s" };
        write!(f, "{} byte{s} at {offset:#x} of the {region}", width.bytes())?;
        let register = match (region, offset % 16 / 4) {
            (Region::Capability, _) if (2..4).contains(offset) => return f.write_str(" (control)"),
            (Region::Capability | Region::Pba, _) => return Ok(()),
            (Region::Table, 0) => "address",
            (Region::Table, 1) => "upper address",
            (Region::Table, 2) => "data",
            (Region::Table, _) => "control",
        };
        write!(f, " (vector {}, {register})", offset / 16)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(access) => write!(f, "read {access}"),
            Self::Write(access, value) => {
                let digits = usize::from(access.width.bytes()) * 2;
                write!(f, "write {value:#0width$x} as {access}", width = digits + 2)
            }
            Self::Program(vector, [address, upper, data, control]) => {
                let address = u64::from(*upper) << 32 | u64::from(*address);
                write!(f, "program vector {vector}: address {address:#x}, data {data:#x}, ")?;
                write!(f, "control {control:#x}")
            }
            Self::Trigger(vector) => write!(f, "the device signals vector {vector}"),
            Self::BusMaster(true) => f.write_str("set Bus Master Enable"),
            Self::BusMaster(false) => f.write_str("clear Bus Master Enable"),
            Self::Reset => f.write_str("reset the bus"),
        }
    }
}
