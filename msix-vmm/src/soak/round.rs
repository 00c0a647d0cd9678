//! A round: some work under signals, and then rest, where everything is judged.

use super::accounts::Accounts;
use super::report::Figures;
use super::subject::{Subject, open_all};
use super::work::{Upsets, Work, pending_in};
use crate::check::driving;
use crate::check::ledger::Ledger;
use crate::check::rest::{Seen, at_rest, once_more};
use crate::check::storm::{Pace, Storm, Stormed, during_storm};
use crate::check::verdict::{Failure, Verdict, equal};

/// What happens in a round beside signals and driving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upset {
    /// Nothing.
    None,
    /// The function is reset or restored among the signals. Of signals that were pending then nobody knows, so that only vectors
    /// in a storm are signalled, and once more in the end: that must come.
    AmongSignals,
    /// The function is reset when the producers have stopped: what is pending then, and no more, need not come.
    Reset,
    /// An earlier state is restored when they have stopped: what was pending in it comes once more.
    Restore,
}

/// Who signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Producers {
    /// Of all vectors.
    All,
    /// Only those that the device counts: the accounts must add up to the last signal.
    Counted,
}

/// A round.
pub(super) struct Round<'a> {
    subject: &'a mut Subject,
    figures: &'a mut Figures,
    random: fastrand::Rng,
    accounts: Accounts,
}

impl<'a> Round<'a> {
    /// Works, and judges. When it returns, everything is open and at rest, and was right.
    pub(super) fn run(
        subject: &'a mut Subject,
        figures: &'a mut Figures,
        random: fastrand::Rng,
    ) -> Verdict {
        let accounts = Accounts::open(&subject.rig)?;
        let mut round = Self { subject, figures, random, accounts };
        let upset = match round.random.u8(..8) {
            0..3 => Upset::None,
            3 => Upset::Reset,
            4 => Upset::Restore,
            _ => Upset::AmongSignals,
        };
        let who = if round.random.bool() { Producers::All } else { Producers::Counted };
        round.live_through(upset, who)?;
        let pending = round.rest_as_it_is()?;
        round.go_on(upset, &pending)?;
        round.rest_with_everything_open()
    }

    /// Signals and driving, and whatever else.
    fn live_through(&mut self, upset: Upset, who: Producers) -> Verdict {
        let Self { subject, figures, random, accounts } = self;
        // What the threads do is random, too.
        subject.rig.seed = random.u64(..);
        let among_signals = upset == Upset::AmongSignals;
        if among_signals {
            // Of this round, before which everything under handshake had come.
            subject.saved = None;
        }
        let threads = threads(subject, who, among_signals);
        let storm = Storm::rationed().retracting();
        let mut work = Work {
            rig: &subject.rig,
            descriptors: &subject.descriptors,
            saved: &mut subject.saved,
            done: &mut figures.done,
            random,
            upsets: among_signals.then(Upsets::default),
        };
        let outcomes = during_storm(&subject.rig, storm, threads, |storm| work.go_on(storm))?;
        let Upsets { count, restored } = work.upsets.unwrap_or_default();

        subject.ledger.note_stormed(&outcomes);
        for outcome in &outcomes {
            accounts.add(outcome.tally);
        }
        subject.ledger.restore(restored.iter().copied());
        accounts.upset_among_signals(count, restored.len() as u64);
        if count > 0 {
            subject.ledger.forgive_storms();
        }
        Ok(())
    }

    /// Everything at rest as the driver left it: what has not come is pending. Tells which vectors are.
    fn rest_as_it_is(&mut self) -> Result<Vec<u16>, Failure> {
        let rig = &self.subject.rig;
        rig.device.flush()?;
        let pending = rig.pending();
        rig.intact()?;
        let mut but_for_pending = self.subject.ledger.clone();
        but_for_pending.forgive(pending.iter().copied());
        but_for_pending.judge(&self.seen(&but_for_pending)?)?;
        equal("Pending Bits while nothing happens", self.subject.rig.pending(), pending.clone())?;
        self.accounts.judge(&self.subject.rig, pending.len() as u64)?;
        self.figures.pending += pending.len() as u64;
        Ok(pending)
    }

    /// Whatever is to happen when nobody signals.
    fn go_on(&mut self, upset: Upset, pending: &[u16]) -> Verdict {
        let Self { subject, figures, accounts, .. } = self;
        match (upset, &subject.saved) {
            (Upset::Reset, _) => {
                subject.rig.device.reset()?;
                subject.ledger.forgive(pending.iter().copied());
                driving::set_up(&subject.rig)?;
                accounts.upset_at_rest(0);
                figures.done.resets += 1;
            }
            (Upset::Restore, Some(state)) => {
                subject.rig.device.restore(state)?;
                subject.ledger.forgive(pending.iter().copied());
                let once_more = pending_in(state);
                subject.ledger.restore(once_more.iter().copied());
                accounts.upset_at_rest(once_more.len() as u64);
                figures.done.restores += 1;
            }
            _ => {}
        }
        open_all(&subject.rig)?;
        if upset != Upset::AmongSignals {
            return Ok(());
        }
        let told = |vector, signal| accounts.count(&subject.rig, vector, signal);
        once_more(&subject.rig, &mut subject.ledger.signals(), told)?;
        subject.ledger.note_once_more();
        Ok(())
    }

    /// Everything open and at rest: all has come that must.
    fn rest_with_everything_open(&mut self) -> Verdict {
        self.subject.rig.device.flush()?;
        let seen = self.seen(&self.subject.ledger)?;
        self.subject.ledger.judge(&seen)?;
        equal("Pending Bits with everything open", self.subject.rig.pending(), vec![])?;
        self.subject.rig.intact()?;
        self.figures.delivered += self.accounts.judge(&self.subject.rig, 0)?.delivered;
        self.figures.signals += self.accounts.told();
        self.figures.handled = seen.runs.iter().map(|&runs| u64::from(runs)).sum();
        Ok(())
    }

    fn seen(&self, ledger: &Ledger) -> Result<Seen, Failure> {
        at_rest(&self.subject.rig, |vector, last, runs| ledger.has_come(vector, last, runs))
    }
}

/// What each of three device threads signals: vectors in a storm, of either kind of producer, and vectors under handshake.
fn threads(subject: &Subject, who: Producers, storms_only: bool) -> Vec<Vec<Stormed>> {
    let signalled = |vector: &u16| who == Producers::All || !subject.rig.is_written(*vector);
    let of = |pace| subject.ledger.at_pace(pace).filter(signalled);
    let (even, odd): (Vec<u16>, Vec<u16>) = of(Pace::Storm).partition(|v| v.is_multiple_of(2));
    let handshake = if storms_only { vec![] } else { of(Pace::Handshake).collect() };
    let stormed = |vectors: Vec<u16>| {
        vectors.into_iter().map(|vector| subject.ledger.stormed(vector)).collect()
    };
    [even, odd, handshake].map(stormed).into()
}
