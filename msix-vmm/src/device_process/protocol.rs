//! What the VMM asks of its device process. Each request has an answer of a type of its own.

use serde::{Deserialize, Serialize};
use vm_msix::{Counts, MsixStateV1, Signal};

use super::confinement::Forbidden;
use crate::check::descriptors::DescriptorAction;

/// Sockets by which the VMM has the device signal: as many as threads of it that signal at a time.
pub(super) const TRIGGER_TUBES: usize = 2;

/// The first descriptor of a device process after the standard ones: its interrupts'. Then come that of [`Request`]s and those
/// of triggers.
pub(super) const FIRST_TUBE: i32 = 3;

/// What the VMM asks, and the type of the answer.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Request {
    /// `Vec<u8>`.
    ConfigRead { offset: u16, bytes: u8 },
    /// `()`, when it has been done.
    ConfigWrite { offset: u16, data: Vec<u8> },
    /// `Option<Vec<u8>>`: none if the address is not the device's.
    MmioRead { address: u64, bytes: u8 },
    /// `bool`, when it has been done: whether the address is the device's.
    MmioWrite { address: u64, data: Vec<u8> },
    /// `Done<bool>`.
    Retract(u16),
    /// `Done<()>`.
    Reset,
    /// `Done<MsixStateV1>`.
    Save,
    /// `Done<()>`.
    Restore(MsixStateV1),
    /// `Done<bool>`.
    Enabled,
    /// `Done<usize>`.
    Unsynced,
    /// `Done<()>`.
    Flush,
    /// `Done<Counted>`.
    Counts,
    /// `Done<()>`.
    Descriptors(DescriptorAction),
    /// `()`, if it lives.
    Try(Forbidden),
}

/// What became of a signal, as it goes over the socket.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Told(#[serde(with = "SignalOnWire")] pub(super) Signal);

#[derive(Deserialize, Serialize)]
#[serde(remote = "Signal")]
enum SignalOnWire {
    Sent,
    Latched,
    Collapsed,
    HandedOver,
}

/// What an observer has counted, as it goes over the socket.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Counted(#[serde(with = "CountsOnWire")] pub(crate) Counts);

#[derive(Deserialize, Serialize)]
#[serde(remote = "Counts")]
struct CountsOnWire {
    sent: u64,
    latched: u64,
    collapsed: u64,
    handed_over: u64,
    failed: u64,
    delivered: u64,
    retracted: u64,
    routes_changed: u64,
    routes_failed: u64,
    illegal_accesses: u64,
}
