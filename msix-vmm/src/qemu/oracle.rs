//! What both functions show after an operation.

use super::board::Delivered;
use super::error::QemuError;
use super::op::Op;

/// Everything that a guest can see after an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// What a read gave, in the low bytes; zero after anything else.
    pub(super) answer: u64,
    /// Message Control.
    pub(super) control: u16,
    /// The QWORDs of the PBA.
    pub(super) pending: Vec<u64>,
    /// The messages that the operation caused.
    pub(super) delivered: Delivered,
}

/// The function that ours is compared with: QEMU's, and in tests a model of it that can be broken.
pub(super) trait Oracle {
    /// Does it, and tells what is there to be seen afterwards.
    fn apply(&mut self, op: &Op) -> Result<Seen, QemuError>;

    /// The whole table.
    fn table(&mut self) -> Result<Vec<u8>, QemuError>;
}
