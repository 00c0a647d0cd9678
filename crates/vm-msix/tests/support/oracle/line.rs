//! One vector as the contract has it: what its host really does, what it was told, what it waits for.

use super::super::ops::{Kind, Message};

/// One vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// What the host does with a signal.
    pub(super) live: Option<Message>,
    /// What the host was told last.
    told: Option<Message>,
    /// It could not close, so that nobody knows what it does.
    in_doubt: bool,
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
        Self { live: None, told: None, in_doubt: false, waits_for: Cause::Nothing, pending: false };

    pub(super) fn is_to_be_told(&mut self, wish: Option<Message>, room: bool) -> bool {
        let ready = match self.waits_for {
            Cause::Nothing => true,
            Cause::AnotherWish(refused) => wish != refused,
            Cause::Room => room,
        };
        if ready {
            self.waits_for = Cause::Nothing;
        }
        ready && !self.is_told(wish)
    }

    /// The host has been told this and did not object.
    pub(super) fn is_told(&self, wish: Option<Message>) -> bool {
        self.told == wish && !self.in_doubt
    }

    pub(super) fn tell(&mut self, wish: Option<Message>) {
        (self.told, self.in_doubt) = (wish, false);
    }

    /// What it was told last has failed.
    pub(super) fn fail(&mut self, kind: Kind) {
        self.in_doubt = kind == Kind::StillOpen;
        self.waits_for = match kind {
            Kind::StillOpen => Cause::Nothing,
            Kind::Refused => Cause::AnotherWish(self.told),
            Kind::Exhausted => Cause::Room,
        };
        if kind != Kind::StillOpen {
            self.told = None;
        }
    }
}
