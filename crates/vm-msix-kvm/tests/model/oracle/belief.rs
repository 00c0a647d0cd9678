//! What a function believes of a vector: what its backend was told, what of it failed, and what a failure waits for.

use super::super::ops::Message;

/// How a route fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// With this message, always.
    Refused,
    /// For now.
    Exhausted,
    /// It could not be closed.
    StillOpen,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Belief {
    told: Option<Message>,
    in_doubt: bool,
    waits_for: Cause,
}

/// What must happen before a vector that failed is told to open again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cause {
    #[default]
    Nothing,
    /// The guest wants something else than this.
    AnotherWish(Option<Message>),
    /// Message Control is written, or the VMM flushes.
    Room,
}

impl Belief {
    pub(super) fn is_true(&self, wish: Option<Message>) -> bool {
        self.told == wish && !self.in_doubt
    }

    /// Whether the backend is to be told now, which it is then.
    pub(super) fn tell(&mut self, wish: Option<Message>, room: bool) -> bool {
        let is_held = match self.waits_for {
            Cause::Nothing => false,
            Cause::AnotherWish(refused) => wish == refused,
            Cause::Room => !room,
        };
        if is_held {
            return false;
        }
        self.waits_for = Cause::Nothing;
        let is_news = !self.is_true(wish);
        (self.told, self.in_doubt) = (wish, false);
        is_news
    }

    pub(super) fn fail(&mut self, trouble: Trouble) {
        self.in_doubt = trouble == Trouble::StillOpen;
        self.waits_for = match trouble {
            Trouble::StillOpen => return self.waits_for = Cause::Nothing,
            Trouble::Refused => Cause::AnotherWish(self.told),
            Trouble::Exhausted => Cause::Room,
        };
        self.told = None;
    }
}
