//! Command and Status: what the guest allows the function to do, and what the function reports.

use crate::spec::{
    COMMAND_BUS_MASTER, COMMAND_INTX_DISABLE, COMMAND_IO, COMMAND_MEMORY, COMMAND_PARITY,
    COMMAND_SERR, STATUS_DETECTED_PARITY, STATUS_MASTER_PARITY, STATUS_RECEIVED_MASTER_ABORT,
    STATUS_RECEIVED_TARGET_ABORT, STATUS_SIGNALED_SYSTEM_ERROR, STATUS_SIGNALED_TARGET_ABORT,
};

/// One value of the Command register, with names for its bits (PCIe Base 7.5.1.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Command(u16);

impl Command {
    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The register as the guest reads it.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// I/O Space Enable: the function answers at its I/O BARs.
    pub const fn io_enabled(self) -> bool {
        self.0 & COMMAND_IO != 0
    }

    /// Memory Space Enable: the function answers at its memory BARs.
    pub const fn memory_enabled(self) -> bool {
        self.0 & COMMAND_MEMORY != 0
    }

    /// Bus Master Enable: the function may read and write memory, and so send MSI and MSI-X messages.
    pub const fn bus_master(self) -> bool {
        self.0 & COMMAND_BUS_MASTER != 0
    }

    /// Parity Error Response: the function reports poisoned data in Status.
    pub const fn parity_error_response(self) -> bool {
        self.0 & COMMAND_PARITY != 0
    }

    /// SERR# Enable: the function reports errors to the root complex.
    pub const fn serr_enabled(self) -> bool {
        self.0 & COMMAND_SERR != 0
    }

    /// Interrupt Disable: the function must not assert INTx.
    pub const fn intx_disabled(self) -> bool {
        self.0 & COMMAND_INTX_DISABLE != 0
    }
}

/// The Command register before and after one write, so that a VMM acts on edges without keeping a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandChange {
    /// What the register held.
    pub before: Command,
    /// What it holds now.
    pub after: Command,
}

impl CommandChange {
    /// The new Bus Master Enable if it changed, as MSI-X wants to hear it.
    pub fn bus_master(&self) -> Option<bool> {
        changed(self.before.bus_master(), self.after.bus_master())
    }

    /// The new Interrupt Disable if it changed, for the owner of the INTx line.
    pub fn intx_disabled(&self) -> Option<bool> {
        changed(self.before.intx_disabled(), self.after.intx_disabled())
    }
}

fn changed(before: bool, after: bool) -> Option<bool> {
    (before != after).then_some(after)
}

/// An error that a function reports in Status until the guest clears it by writing one (PCIe Base 7.5.1.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusError {
    /// Master Data Parity Error: poisoned data came in or went out.
    MasterDataParity,
    /// Signaled Target Abort: the function ended a request as Completer Abort.
    SignaledTargetAbort,
    /// Received Target Abort: a request of the function was ended as Completer Abort.
    ReceivedTargetAbort,
    /// Received Master Abort: a request of the function found nobody, such as DMA to unmapped memory.
    ReceivedMasterAbort,
    /// Signaled System Error: the function sent an error message with SERR# enabled.
    SignaledSystemError,
    /// Detected Parity Error: poisoned data came in, whatever Parity Error Response says.
    DetectedParity,
}

impl StatusError {
    pub(crate) const fn mask(self) -> u32 {
        match self {
            Self::MasterDataParity => STATUS_MASTER_PARITY,
            Self::SignaledTargetAbort => STATUS_SIGNALED_TARGET_ABORT,
            Self::ReceivedTargetAbort => STATUS_RECEIVED_TARGET_ABORT,
            Self::ReceivedMasterAbort => STATUS_RECEIVED_MASTER_ABORT,
            Self::SignaledSystemError => STATUS_SIGNALED_SYSTEM_ERROR,
            Self::DetectedParity => STATUS_DETECTED_PARITY,
        }
    }
}

/// Interrupt Status: whether an INTx interrupt waits inside the function (PCIe Base 7.5.1.1.4).
///
/// It shows even while Interrupt Disable keeps the line quiet, which is how a guest polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterruptStatus {
    /// Nothing waits.
    Clear,
    /// An interrupt waits.
    Pending,
}
