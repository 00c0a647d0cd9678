//! What the process that moves a VM and the processes that host it tell each other, beside the state itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::configuration::Configuration;
use crate::check::rest::Seen;

/// To a host, once, and then it is on its own. If it is to continue, the state comes behind it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) configuration: Configuration,
    /// Of everything random while the VM is here.
    pub(super) seed: u64,
    pub(super) begin: Begin,
    pub(super) then: Then,
}

/// Where the VM comes from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Begin {
    /// It is a new one.
    Boot,
    /// It continues. Its guest has seen that these vectors were masked and pending.
    Continue { held: Vec<Held> },
}

/// A vector that is masked and pending.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) vector: u16,
    /// How often its handler had run when all that was sent before the mask was handled: it stays at that.
    pub(super) runs: u32,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Then {
    /// It is under load, and goes.
    Leave,
    /// It is the end.
    Stay,
}

/// From a host, in this order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The VM runs, and its device sends interrupts.
    Resumed,
    /// Every vector was unmasked, and all is at rest: what the guest had seen by then. A host that stays signals every vector
    /// once more, and says it again.
    AtRest(Seen),
    /// The VM is being saved. It was stopped so long ago, and then the producers of interrupts.
    Leaving { stopped_for: Duration },
    /// The VM is here no more. Its state comes behind.
    Left(Departure),
    /// Something was not as it must be; nothing comes after it.
    Failed(String),
}

/// A VM that left.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Departure {
    /// How often each vector was signalled, ever: the last number written.
    pub(super) signals: Vec<u64>,
    /// Vectors that the guest saw masked and pending.
    pub(super) held: Vec<Held>,
    /// Vectors that were masked and pending in the saved state, these and others.
    pub(super) pending: usize,
    /// Interrupts that local APICs had accepted and no handler had acknowledged.
    pub(super) in_apics: u32,
    /// CPUs that were not halted.
    pub(super) at_work: usize,
    /// CPUs in the middle of what the driver had them do.
    pub(super) driving: usize,
}
