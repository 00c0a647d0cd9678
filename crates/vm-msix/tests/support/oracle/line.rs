//! One vector as the contract has it: what its host really does, what it was told, what it waits for.

use super::super::ops::{Kind, Message};

/// One vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// What the host does with a signal.
    pub(super) live: Option<Message>,
    /// What the host was told, `None` if it could not close and nobody knows.
    pub(super) told: Option<Option<Message>>,
    waits_for: Cause,
    pub(super) pending: bool,
}

/// What must happen before a vector that failed is told to open again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Nothing,
    /// The guest wants something else than this.
    AnotherWish(Option<Message>),
    /// Message Control is written, or the VMM flushes.
    Room,
}

impl Line {
    pub(super) const NEW: Self =
        Self { live: None, told: Some(None), waits_for: Cause::Nothing, pending: false };

    pub(super) fn is_to_be_told(&mut self, wish: Option<Message>, room: bool) -> bool {
        let ready = match self.waits_for {
            Cause::Nothing => true,
            Cause::AnotherWish(refused) => wish != refused,
            Cause::Room => room,
        };
        if ready {
            self.waits_for = Cause::Nothing;
        }
        ready && self.told != Some(wish)
    }

    /// What it was told last has failed.
    pub(super) fn fail(&mut self, kind: Kind) {
        (self.waits_for, self.told) = match kind {
            Kind::StillOpen => (Cause::Nothing, None),
            Kind::Refused => (Cause::AnotherWish(self.told.flatten()), Some(None)),
            Kind::Exhausted => (Cause::Room, Some(None)),
        };
    }
}
