//! Accesses as a CPU's instructions make them.

use super::MachineError;

/// How many bytes one access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Width {
    /// 1 byte.
    Byte,
    /// 2 bytes.
    Word,
    /// 4 bytes.
    Dword,
    /// 8 bytes; MMIO only.
    Qword,
}

impl Width {
    /// All widths, the narrowest first.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 4] = [Self::Byte, Self::Word, Self::Dword, Self::Qword];

    /// The number of bytes.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
        }
    }
}

/// One access of one instruction: `in`, `out` or `mov`. Of a written value the low bytes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// `in`: reads a port.
    IoRead {
        /// The port.
        port: u16,
        /// Up to [`Width::Dword`].
        width: Width,
    },
    /// `out`: writes a port.
    IoWrite {
        /// The port.
        port: u16,
        /// Up to [`Width::Dword`].
        width: Width,
        /// What is written.
        value: u32,
    },
    /// `mov` from an address with no memory behind it.
    MmioRead {
        /// The physical address, below 4 GiB: the guest maps no more.
        address: u64,
        /// Any width.
        width: Width,
    },
    /// `mov` to an address with no memory behind it.
    MmioWrite {
        /// The physical address, below 4 GiB: the guest maps no more.
        address: u64,
        /// Any width.
        width: Width,
        /// What is written.
        value: u64,
    },
}

impl Access {
    /// Refuses what no x86 instruction does, and the ports that the guest's kernel reports by.
    pub(super) fn validate(self) -> Result<Self, MachineError> {
        match self {
            Self::IoRead { width: Width::Qword, .. }
            | Self::IoWrite { width: Width::Qword, .. } => {
                Err(MachineError::NoSuchAccess { access: self })
            }
            Self::IoWrite { port, .. } if super::kvm::is_report_port(port) => {
                Err(MachineError::ReportPort { port })
            }
            _ => Ok(self),
        }
    }
}
