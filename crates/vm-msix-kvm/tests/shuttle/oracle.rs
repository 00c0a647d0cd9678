//! What must hold, whatever the schedule: told of signals and masks by the scenario, and of interrupts by the model of KVM.
//!
//! A message names its vector and its programming, so that one that comes says by itself whether it may.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vm_msix::MsiMessage;

/// A vector of a function of the scenario.
pub(crate) type Place = (u8, u8);

/// Set in translated messages.
pub(crate) const TRANSLATED: u32 = 1 << 31;

/// The judge. Its lock is no scheduling point, and is held over none.
#[derive(Default)]
pub(crate) struct Oracle(Mutex<Book>);

#[derive(Default)]
struct Book {
    lines: BTreeMap<Place, Line>,
    /// Vectors that account together for what is signalled, by the first of them: their eventfds change places.
    joint: BTreeMap<Place, Place>,
    accounts: BTreeMap<Place, Account>,
    now: u32,
}

/// What a vector may send.
#[derive(Clone, Copy, Default)]
struct Line {
    programming: u8,
    /// The one before, for as long as the guest writes.
    replaced: u8,
    newest: u8,
    may_send: bool,
    /// How often the guest has unmasked.
    openings: u32,
}

/// What was signalled, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    signals: u32,
    /// How many of them are done, and when the last of those began.
    done: u32,
    last_done: u32,
    /// Those that were taken back count too.
    interrupts: u32,
    last_signal: u32,
    last_interrupt: u32,
}

/// What was known of a vector when somebody began to look at its Pending Bit, or to take its signal back.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    line: Line,
    account: Account,
}

impl Oracle {
    /// A programming that the vector never had.
    pub(crate) fn another(&self, place: Place) -> u8 {
        let mut book = self.book();
        let line = book.lines.entry(place).or_default();
        line.newest += 1;
        line.newest
    }

    /// The guest begins to write another message.
    pub(crate) fn programs(&self, place: Place, programming: u8) {
        let mut book = self.book();
        let line = book.lines.entry(place).or_default();
        line.replaced = std::mem::replace(&mut line.programming, programming);
    }

    /// It has written it: the one before may not come any more.
    pub(crate) fn has_programmed(&self, place: Place) {
        let mut book = self.book();
        let line = book.lines.entry(place).or_default();
        line.replaced = line.programming;
    }

    /// The guest begins to unmask.
    pub(crate) fn unmasks(&self, place: Place) {
        let mut book = self.book();
        let line = book.lines.entry(place).or_default();
        line.may_send = true;
        line.openings += 1;
    }

    /// The guest has masked.
    pub(crate) fn has_masked(&self, place: Place) {
        self.book().lines.entry(place).or_default().may_send = false;
    }

    /// Somebody signals.
    pub(crate) fn signals(&self, place: Place, signal: impl FnOnce()) {
        let mut book = self.book();
        book.now += 1;
        let now = book.now;
        let account = book.account(place);
        account.signals += 1;
        account.last_signal = now;
        drop(book);
        signal();
        let mut book = self.book();
        let account = book.account(place);
        account.done += 1;
        account.last_done = account.last_done.max(now);
    }

    /// Somebody begins to look at a vector's Pending Bit, or to take its signal back.
    pub(crate) fn before(&self, place: Place) -> Before {
        let mut book = self.book();
        let line = book.lines.get(&place).copied().unwrap_or_default();
        Before { line, account: *book.account(place) }
    }

    /// A Pending Bit was seen, as it was at some time since.
    pub(crate) fn sees(&self, place: Place, before: Before, is_pending: bool) {
        let mut book = self.book();
        if book.is_joint(place) {
            return;
        }
        let line = book.lines.get(&place).copied().unwrap_or_default();
        let was_masked = !line.may_send && !before.line.may_send;
        let was_masked = was_masked && line.openings == before.line.openings;
        let account = *book.account(place);
        let waits = before.account.last_done > account.last_interrupt;
        if is_pending {
            let is_owed = account.signals > before.account.interrupts;
            assert!(is_owed, "{place:?} shows what has come: {account:?}");
        } else {
            assert!(!(was_masked && waits), "{place:?} hides what waits: {account:?}");
        }
    }

    /// What was signalled before, and has not come, was taken back; what was signalled meanwhile may have been.
    pub(crate) fn takes_back(&self, place: Place, before: Before) {
        let mut book = self.book();
        let account = book.account(place);
        account.interrupts = account.interrupts.max(before.account.done);
        account.last_interrupt = account.last_signal;
    }

    /// Eventfds of these two change places: what is signalled on one may come from the other.
    pub(crate) fn join(&self, one: Place, other: Place) {
        self.book().joint.insert(other, one);
    }

    /// An interrupt comes.
    pub(crate) fn interrupt(&self, sent: MsiMessage) {
        let [_, function, vector, programming] = (sent.data & !TRANSLATED).to_be_bytes();
        let place = (function, vector);
        let mut book = self.book();
        let line = book.lines.get(&place).copied().unwrap_or_default();
        let is_current = [line.programming, line.replaced].contains(&programming);
        assert!(is_current, "{place:?} sends a message of old");
        assert!(line.may_send, "{place:?} sends while it is masked");
        book.now += 1;
        let now = book.now;
        let account = book.account(place);
        account.interrupts += 1;
        account.last_interrupt = now;
        assert!(account.interrupts <= account.signals, "{place:?} invents an interrupt");
    }

    /// How many have come.
    pub(crate) fn interrupts(&self, place: Place) -> u32 {
        self.book().account(place).interrupts
    }

    /// Nothing moves any more: what was signalled has come, or is pending where the guest masks it.
    pub(crate) fn judge_at_rest(&self, place: Place, is_pending: bool) {
        let mut book = self.book();
        let may_send = book.lines.get(&place).is_some_and(|line| line.may_send);
        let is_joint = book.is_joint(place);
        let account = *book.account(place);
        let is_answered = account.last_signal <= account.last_interrupt;
        if may_send {
            assert!(!is_pending, "{place:?} is open, and its signal waits");
            assert!(is_answered, "{place:?} lost a signal: {account:?}");
        } else {
            assert!(is_answered || is_pending || is_joint, "{place:?} lost a signal: {account:?}");
        }
        let kept = account.interrupts + u32::from(is_pending);
        assert!(kept <= account.signals, "{place:?} invents a signal: {account:?}");
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn is_joint(&self, place: Place) -> bool {
        self.joint.iter().any(|(other, one)| place == *other || place == *one)
    }

    fn account(&mut self, place: Place) -> &mut Account {
        let place = self.joint.get(&place).copied().unwrap_or(place);
        self.accounts.entry(place).or_default()
    }
}

/// The message of one programming of one vector.
pub(crate) fn message((function, vector): Place, programming: u8) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, u32::from_be_bytes([0, function, vector, programming]))
}
