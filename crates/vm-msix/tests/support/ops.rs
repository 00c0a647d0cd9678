//! What can happen to a function, as data: what the model, the rig and random tests have in common.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The address and the data of a message.
pub(crate) type Message = (u64, u32);

/// A vector and what it was to do with signals: keep them, or send this message.
pub(crate) type Told = (u16, Option<Message>);

/// Up to 16 bytes of a write.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
pub(crate) struct Bytes {
    bytes: [u8; 16],
    len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    Capability(u64, Bytes),
    Table(u64, Bytes),
    Pba(u64, Bytes),
    Trigger(u16),
    Retract(u16),
    BusMaster(bool),
    Reset,
    /// Saves, and restores into the same function.
    SaveRestore,
    /// Saves, for a restore later.
    Save,
    /// Restores what was saved last; does nothing if nothing was.
    Restore,
    Pause,
    Resume,
    Flush,
}

/// How a route fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Refused,
    Exhausted,
    StillOpen,
}

/// What is to go wrong next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// The next opening of a vector.
    Open(u16, Kind),
    /// The next closing of a vector.
    Close(u16),
    /// The next so many sends.
    Sends(usize),
    /// A vector that is open closes by itself, and the next sync hears of it.
    Late(u16, Kind),
}

/// What an operation gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Changed,
    EntryChanged(usize),
    NothingToDo,
    Sent,
    Latched,
    Collapsed,
    NotSent,
    NoSuchVector,
    Retracted(bool),
    Flushed,
    Unsynced { vectors: usize, first: u16 },
    Done,
}

/// What an operation did, as anyone outside can see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) answer: Answer,
    /// What the backend was told: batches in order, each sorted by vector.
    pub(crate) batches: Vec<Vec<Told>>,
    /// What was sent, sorted by vector; of one vector in order.
    pub(crate) sent: Vec<(u16, Message)>,
}

impl Bytes {
    pub(crate) fn new(data: &[u8]) -> Self {
        let mut bytes = [0; 16];
        bytes[..data.len()].copy_from_slice(data);
        Self { bytes, len: data.len() }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The first 16, if there are more.
impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(&bytes[..bytes.len().min(16)])
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        bytes.as_slice().to_vec()
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.as_slice())
    }
}

impl Op {
    /// A DWORD written to a register of a table entry.
    pub(crate) fn dword(vector: u16, register: u64, value: u32) -> Self {
        Self::Table(16 * u64::from(vector) + register, Bytes::new(&value.to_le_bytes()))
    }

    /// Message Data and Vector Control written as one QWORD.
    pub(crate) fn data_and_control(vector: u16, data: u32, control: u32) -> Self {
        let value = u64::from(data) | u64::from(control) << 32;
        Self::Table(16 * u64::from(vector) + 8, Bytes::new(&value.to_le_bytes()))
    }
}
