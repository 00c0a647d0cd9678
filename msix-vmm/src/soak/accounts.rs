//! The device's own accounts of a round, against those of its producers.

use vm_msix::{Counts, Signal};

use crate::check::configuration::Delivery;
use crate::check::rig::Rig;
use crate::check::tally::Tally;
use crate::check::verdict::{Failure, Verdict, equal, holds};

/// What the producers know, and what the device had counted before.
pub(super) struct Accounts {
    before: Counts,
    told: Tally,
    /// Signals that a restored state had pending: the device counts them as signals, and nobody made them.
    restored: u64,
    /// As many of them as may have collapsed with signals that came first.
    restored_among_signals: u64,
    /// Resets and restores, which take back what is pending.
    upsets: u64,
}

impl Accounts {
    /// Of a round that begins, with everything open and at rest.
    pub(super) fn open(rig: &Rig) -> Result<Self, Failure> {
        let before = rig.device.counts()?;
        let told = Tally::default();
        Ok(Self { before, told, restored: 0, restored_among_signals: 0, upsets: 0 })
    }

    /// Adds what producers were told.
    pub(super) fn add(&mut self, told: Tally) {
        self.told += told;
    }

    /// Counts one signal more.
    pub(super) fn count(&mut self, rig: &Rig, vector: u16, signal: Signal) {
        self.told.count(rig, vector, signal);
    }

    /// The function was reset or restored so often while producers signalled.
    pub(super) fn upset_among_signals(&mut self, upsets: u64, restored: u64) {
        self.upsets += upsets;
        self.restored += restored;
        self.restored_among_signals += restored;
    }

    /// The function was reset or restored while nobody signalled.
    pub(super) fn upset_at_rest(&mut self, restored: u64) {
        self.upsets += 1;
        self.restored += restored;
    }

    /// What the producers were told.
    pub(super) fn told(&self) -> Tally {
        self.told
    }

    /// Judges, at rest, with so many Pending Bits set. Tells what the device has counted in this round.
    pub(super) fn judge(&self, rig: &Rig, pending: u64) -> Result<Counts, Failure> {
        let counted = since(&self.before, &rig.device.counts()?);
        self.judge_signals(&counted)?;
        self.judge_kept(&counted, pending, rig.configuration.delivery)?;
        Ok(counted)
    }

    /// Every signal was counted as what its producer was told.
    fn judge_signals(&self, counted: &Counts) -> Verdict {
        let Self { told, restored, restored_among_signals, .. } = self;
        equal("signals counted as failed", counted.failed, 0)?;
        equal("routes counted as failed", counted.routes_failed, 0)?;
        equal("signals counted as sent", counted.sent, told.sent)?;
        equal("signals counted as handed over", counted.handed_over, told.handed_over)?;
        let kept = counted.latched + counted.collapsed;
        equal("signals counted as kept", kept, told.latched + told.collapsed + restored)?;
        let collapsed = told.collapsed..=told.collapsed + restored_among_signals;
        holds(collapsed.contains(&counted.collapsed), || {
            format!("signals counted as collapsed: {}, must be {collapsed:?}", counted.collapsed)
        })
    }

    /// Every latched signal was delivered, taken back, or is pending.
    ///
    /// What was written to a descriptor and found there later is one of these as well, without ever having been latched. A device
    /// process writes descriptors itself, also what it delivers, and can find that again any number of times: there the end of
    /// a signal is judged, which it has once.
    fn judge_kept(&self, counted: &Counts, pending: u64, delivery: Delivery) -> Verdict {
        let Counts { latched, handed_over, delivered, retracted, .. } = *counted;
        let (ended, most) = match delivery {
            Delivery::DeviceProcess => (retracted + pending, latched + handed_over),
            _ => (delivered + retracted + pending, latched + self.told.written),
        };
        let said = || {
            format!(
                "{latched} latched, {delivered} delivered, {retracted} retracted, {pending} pending, \
                 {handed_over} handed over, {} written: they do not add up",
                self.told.written
            )
        };
        holds(latched <= delivered + retracted + pending && ended <= most, said)?;
        let by_device = self.told.retracted;
        let explained = retracted == by_device || self.upsets > 0 && retracted > by_device;
        holds(explained, || {
            format!("signals counted as taken back: {retracted}, of which the device {by_device}")
        })
    }
}

/// What was counted from one moment to another.
fn since(before: &Counts, now: &Counts) -> Counts {
    Counts {
        sent: now.sent - before.sent,
        latched: now.latched - before.latched,
        collapsed: now.collapsed - before.collapsed,
        handed_over: now.handed_over - before.handed_over,
        failed: now.failed - before.failed,
        delivered: now.delivered - before.delivered,
        retracted: now.retracted - before.retracted,
        routes_changed: now.routes_changed - before.routes_changed,
        routes_failed: now.routes_failed - before.routes_failed,
        illegal_accesses: now.illegal_accesses - before.illegal_accesses,
    }
}

#[cfg(test)]
mod tests {
    use super::{Accounts, Counts, Delivery, Tally};

    /// Of a round in which everything happened, one writer of a descriptor found pending included.
    fn accounts() -> (Accounts, Counts) {
        let told =
            Tally { sent: 10, latched: 8, collapsed: 5, handed_over: 0, written: 4, retracted: 2 };
        let counted = Counts {
            sent: 10,
            latched: 8,
            collapsed: 5,
            delivered: 6,
            retracted: 2,
            ..Counts::default()
        };
        let accounts = Accounts {
            before: Counts::default(),
            told,
            restored: 0,
            restored_among_signals: 0,
            upsets: 0,
        };
        (accounts, counted)
    }

    fn holds(accounts: &Accounts, counted: &Counts, pending: u64) -> bool {
        accounts.judge_signals(counted).is_ok()
            && accounts.judge_kept(counted, pending, Delivery::Irqfd).is_ok()
    }

    #[test]
    fn what_adds_up_passes() {
        let (accounts, counted) = accounts();
        assert!(holds(&accounts, &counted, 0));
        // Found in descriptors: as many as were written, at most.
        assert!(holds(&accounts, &counted, 4));
        assert!(!holds(&accounts, &counted, 5));
    }

    #[test]
    fn one_signal_more_or_less_fails() {
        let changes: [fn(&mut Counts); 8] = [
            |counted| counted.sent -= 1,
            |counted| counted.handed_over += 1,
            |counted| counted.failed += 1,
            |counted| counted.routes_failed += 1,
            |counted| counted.latched += 1,
            |counted| counted.collapsed -= 1,
            |counted| counted.delivered -= 1,
            |counted| counted.retracted += 1,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let (accounts, mut counted) = accounts();
            change(&mut counted);
            assert!(!holds(&accounts, &counted, 0), "change {number}");
        }
    }

    #[test]
    fn a_restored_signal_is_latched_or_collapsed_with_one_that_was_quicker() {
        let (mut accounts, mut counted) = accounts();
        accounts.upset_at_rest(1);
        counted.latched += 1;
        counted.delivered += 1;
        assert!(holds(&accounts, &counted, 0));
        (counted.latched, counted.collapsed) = (counted.latched - 1, counted.collapsed + 1);
        assert!(!holds(&accounts, &counted, 0));
        accounts.restored_among_signals = 1;
        assert!(holds(&accounts, &counted, 0));
    }

    #[test]
    fn what_a_device_process_has_ends_once() {
        let (mut accounts, mut counted) = accounts();
        (accounts.told.written, accounts.told.handed_over) = (0, 3);
        (counted.handed_over, counted.delivered) = (3, 60);
        let judge = |pending| accounts.judge_kept(&counted, pending, Delivery::DeviceProcess);
        assert!(judge(9).is_ok());
        assert!(judge(10).is_err());
    }
}
