//! What can go wrong between a vector and KVM.

use std::io;

use vmm_sys_util::errno;

use crate::translate::DestinationIds;

/// Why KVM does not deliver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvmError {
    /// The upper half of the address says more than the destination IDs that the VM was set up for: nothing
    /// with 8-bit IDs, bits 31:8 of the ID above a zero byte with 32-bit ones. KVM would refuse it, or deliver
    /// to another CPU.
    #[error("message address {address:#x} does not fit {destination_ids:?} destination IDs")]
    Message {
        /// The address, translated.
        address: u64,
        /// What the VM was set up for.
        destination_ids: DestinationIds,
    },
    /// Every GSI is in use.
    #[error("all {limit} GSIs are in use: free some, or let a committer poll")]
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
    /// An eventfd that a caller brought cannot be a vector's latch.
    #[error("the eventfd cannot be a vector's: {0}")]
    Eventfd(EventfdFault),
    /// A system call failed.
    #[error("{call} failed: {source}")]
    Call {
        /// Which.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What is wrong with a caller's eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum EventfdFault {
    /// It is something else.
    #[error("it is no eventfd")]
    NotAnEventfd,
    /// Its producer would sleep when the counter is full.
    #[error("it is blocking: create it with EFD_NONBLOCK")]
    Blocking,
    /// Its signals do not collapse.
    #[error("it is a semaphore: create it without EFD_SEMAPHORE")]
    Semaphore,
}

impl KvmError {
    pub(crate) fn call(call: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Call { call, source: source.into() }
    }

    /// Whether it is the message itself that is no good, so that trying again is no use.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Message { .. } => true,
            Self::Route { source, .. } => source.errno() == libc::EINVAL,
            Self::GsisExhausted { .. } | Self::Eventfd(_) | Self::Call { .. } => false,
        }
    }
}
