//! What can go wrong between a vector and KVM.

use std::io;

use vmm_sys_util::errno;

/// Why KVM does not deliver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvmError {
    /// With 32-bit destination IDs, the upper half of a message address holds bits 31:8 of the ID, and its low byte
    /// must be zero: KVM refuses the message.
    #[error(
        "message address {address:#x} has bits 39:32 set, which 32-bit destination IDs keep at zero"
    )]
    Message {
        /// The address, translated.
        address: u64,
    },
    /// Every GSI is in use.
    #[error("all {limit} GSIs are in use: free some, or keep vectors off descriptors")]
    GsisExhausted {
        /// How many KVM has.
        limit: u32,
    },
    /// KVM refused a route; the others stand.
    #[error("KVM refused the route of GSI {gsi}: {source}")]
    Route {
        /// The GSI.
        gsi: u32,
        /// What KVM said.
        source: errno::Error,
    },
    /// A system call failed.
    #[error("{call} failed: {source}")]
    Call {
        /// Which.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is no such vector.
    #[error("vector {vector} does not exist")]
    NoVector {
        /// The vector.
        vector: u16,
    },
}

impl KvmError {
    pub(crate) fn call(call: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Call { call, source: source.into() }
    }

    /// Whether it is the message itself that is no good, so that trying again is no use.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Message { .. } | Self::NoVector { .. } => true,
            Self::Route { source, .. } => source.errno() == libc::EINVAL,
            Self::GsisExhausted { .. } | Self::Call { .. } => false,
        }
    }
}
