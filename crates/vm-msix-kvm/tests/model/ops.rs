//! What can happen to the functions of a VM, as data: what the search, the random lives, the oracle and the rig have in common.

use vm_msix_kvm::model::Call;

/// A vector: the number of its function, and its own.
pub(crate) type Place = (u8, u16);

/// What a vector sends. It says whose it is, and every vector has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) place: Place,
    pub(crate) programming: bool,
}

impl Message {
    /// As the guest writes it to Message Data.
    pub(crate) fn data(self) -> u32 {
        let (function, vector) = self.place;
        u32::from(function) << 24 | u32::from(vector) << 8 | u32::from(self.programming)
    }
}

/// The VM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) commits: Commits,
    pub(crate) gsis: u32,
    /// How many vectors each of the two functions has.
    pub(crate) vectors: [u16; 2],
}

/// Who commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    /// The VMM's loop, when it comes by.
    Loop,
    /// Whoever changes a route.
    AtOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Enable and Function Mask, as Message Control is written.
    Control(u8, Control),
    BusMaster(u8, bool),
    Mask(Place),
    Unmask(Place),
    /// The other one of the vector's two messages.
    Rewrite(Place),
    Trigger(Place),
    Retract(Place),
    /// A producer outside writes the vector's eventfd.
    Write(Place),
    /// Somebody asks for the vector's descriptor.
    Promote(Place),
    /// Who has it lets it go.
    Demote(Place),
    /// Somebody brings an eventfd, which has been written already; who had one lets it go.
    Adopt(Place),
    /// The first two vectors exchange their eventfds.
    Swap(u8),
    SaveRestore(u8),
    Reset(u8),
    Flush(u8),
    /// The function goes, then whoever has its descriptors.
    End(u8),
    /// The VMM's loop comes by.
    RunPending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) enabled: bool,
    pub(crate) masked: bool,
}

/// What KVM refuses as long as one operation takes.
pub(crate) type Fault = (Call, Message);

/// An operation, and what goes wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) faults: Vec<Fault>,
}

impl From<Op> for Step {
    fn from(op: Op) -> Self {
        Self { op, faults: Vec::new() }
    }
}

/// What an operation gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Sent,
    Latched,
    Collapsed,
    Retracted(bool),
    Failed,
}

/// All that can be seen when an operation is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) answer: Answer,
    /// The data of the interrupts that came, sorted.
    pub(crate) interrupts: Vec<u32>,
    pub(crate) functions: Vec<SeenFunction>,
    /// The data of the messages that irqfds send, sorted.
    pub(crate) listening: Vec<u32>,
    pub(crate) gsis: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeenFunction {
    pub(crate) pending: Vec<u16>,
    pub(crate) unsynced: Vec<u16>,
    pub(crate) polled: usize,
}

impl Op {
    /// The function that it names.
    pub(crate) fn function(self) -> Option<u8> {
        match self {
            Self::RunPending => None,
            Self::Control(function, _) | Self::BusMaster(function, _) => Some(function),
            Self::Swap(function) | Self::SaveRestore(function) => Some(function),
            Self::Reset(function) | Self::Flush(function) | Self::End(function) => Some(function),
            Self::Mask(place) | Self::Unmask(place) | Self::Rewrite(place) => Some(place.0),
            Self::Trigger(place) | Self::Retract(place) | Self::Write(place) => Some(place.0),
            Self::Promote(place) | Self::Demote(place) | Self::Adopt(place) => Some(place.0),
        }
    }
}
