//! The oracles. They know what was signalled, and hear what the guest has seen; nothing of how it came there.

use super::rest::Seen;
use super::storm::{Forgiven, Pace, Stormed};
use super::verdict::{Verdict, equal, holds};

/// How often each vector has been signalled, and what of it need not come.
#[derive(Clone)]
pub(crate) struct Ledger {
    signals: Vec<u64>,
    forgiven: Vec<Forgiven>,
}

impl Ledger {
    pub(crate) fn new(vectors: u16) -> Self {
        let vectors = usize::from(vectors);
        Self { signals: vec![0; vectors], forgiven: vec![Forgiven::default(); vectors] }
    }

    /// Notes what has been signalled by now.
    pub(crate) fn note(&mut self, signals: &[u64]) -> Verdict {
        equal("vectors of the device that left", signals.len(), self.signals.len())?;
        let rises = self.signals.iter().zip(signals).all(|(before, now)| before <= now);
        holds(rises, || "a device has fewer signals than before".into())?;
        self.signals.copy_from_slice(signals);
        Ok(())
    }

    /// Notes one more signal of every vector, which must come, whatever became of those before.
    pub(crate) fn note_once_more(&mut self) {
        self.signals.iter_mut().for_each(|signals| *signals += 1);
        self.forgiven.iter_mut().for_each(|forgiven| forgiven.last = false);
    }

    /// How often each vector has been signalled.
    pub(crate) fn signals(&self) -> Vec<u64> {
        self.signals.clone()
    }

    /// A vector as a storm goes on with it, which [gives it back](Self::note_stormed).
    pub(crate) fn stormed(&self, vector: u16) -> Stormed {
        let (signals, forgiven) =
            (self.signals[usize::from(vector)], self.forgiven[usize::from(vector)]);
        let new = Stormed::new(vector, vec![vector], Pace::of(vector));
        Stormed { signals, forgiven, ..new }
    }

    /// Notes what a storm did.
    pub(crate) fn note_stormed(&mut self, outcomes: &[Stormed]) {
        for outcome in outcomes {
            self.signals[usize::from(outcome.vector)] = outcome.signals;
            self.forgiven[usize::from(outcome.vector)] = outcome.forgiven;
        }
    }

    /// What is pending on these vectors need not come.
    pub(crate) fn forgive(&mut self, pending: impl IntoIterator<Item = u16>) {
        for vector in pending {
            self.forgiven[usize::from(vector)].take_back();
        }
    }

    /// The last signals of vectors in a storm need not come: nobody knows when they were taken back.
    pub(crate) fn forgive_storms(&mut self) {
        for vector in self.at_pace(Pace::Storm) {
            self.forgiven[usize::from(vector)].last = true;
        }
    }

    /// A saved state brought a signal of each of these vectors once more.
    pub(crate) fn restore(&mut self, pending: impl IntoIterator<Item = u16>) {
        for vector in pending {
            self.forgiven[usize::from(vector)].restored += 1;
        }
    }

    /// The vectors that are signalled at this pace.
    pub(crate) fn at_pace(&self, pace: Pace) -> impl Iterator<Item = u16> + use<> {
        (0..self.signals.len() as u16).filter(move |vector| Pace::of(*vector) == pace)
    }

    /// Whether all that must come to a vector has come.
    pub(crate) fn has_come(&self, vector: u16, last: u64, runs: u32) -> bool {
        let signals = self.signals[usize::from(vector)];
        let forgiven = self.forgiven[usize::from(vector)];
        match Pace::of(vector) {
            Pace::Storm => last == signals || forgiven.last,
            Pace::Handshake => forgiven.are_due(runs.into(), signals),
        }
    }

    /// All signals, at this pace.
    pub(crate) fn total(&self, of: Pace) -> u64 {
        self.at_pace(of).map(|vector| self.signals[usize::from(vector)]).sum()
    }

    /// What must be at rest: the last number seen is the last one written, of every vector; under handshake as many handler
    /// runs as signals; and no interrupt that nobody sent. What is forgiven need not have come.
    pub(crate) fn judge(&self, seen: &Seen) -> Verdict {
        let Seen { last, runs, unexpected, unsynced } = seen;
        equal(
            "vectors that were looked at",
            (last.len(), runs.len()),
            (self.signals.len(), self.signals.len()),
        )?;
        for (vector, (&signals, forgiven)) in (0..).zip(self.signals.iter().zip(&self.forgiven)) {
            let (last, runs) = (last[usize::from(vector)], u64::from(runs[usize::from(vector)]));
            let what = format_args!("last number seen by vector {vector}");
            match forgiven.last && last < signals {
                true => {}
                false => equal(what, last, signals)?,
            }
            let owed = (signals + forgiven.restored).saturating_sub(forgiven.taken_back);
            match Pace::of(vector) {
                Pace::Handshake => {
                    equal(format_args!("handler runs of vector {vector}"), runs, owed)?
                }
                // Of what comes close together a local APIC makes one.
                Pace::Storm => holds(runs <= owed, || {
                    format!("handler runs of vector {vector}: {runs}, for {owed} signals")
                })?,
            }
        }
        equal("interrupts of nobody", *unexpected, 0)?;
        equal("vectors out of sync", *unsynced, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Seen};

    type Change = fn(&mut Seen);

    /// Two vectors in a storm and two under handshake, 9 signals each, of which the storm's came as 5 interrupts.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(4);
        ledger.note(&[9; 4]).unwrap();
        ledger
    }

    fn seen() -> Seen {
        Seen { last: vec![9; 4], runs: vec![5, 5, 9, 9], unexpected: 0, unsynced: 0 }
    }

    #[test]
    fn what_must_be_passes() {
        ledger().judge(&seen()).unwrap();
    }

    #[test]
    fn each_thing_that_must_not_be_fails() {
        let breaks: [(Change, &str); 8] = [
            (|seen| seen.last[0] = 8, "last number seen by vector 0: 8"),
            (|seen| seen.last[3] = 10, "last number seen by vector 3: 10"),
            (|seen| seen.runs[1] = 10, "handler runs of vector 1: 10, for 9"),
            (|seen| seen.runs[2] = 8, "handler runs of vector 2: 8"),
            (|seen| seen.runs[2] = 10, "handler runs of vector 2: 10"),
            (|seen| seen.unexpected = 1, "interrupts of nobody"),
            (|seen| seen.unsynced = 1, "vectors out of sync"),
            (|seen| seen.runs.truncate(3), "vectors that were looked at"),
        ];
        for (change, said) in breaks {
            let mut seen = seen();
            change(&mut seen);
            let failure = ledger().judge(&seen).unwrap_err().to_string();
            assert!(failure.starts_with(said), "{failure}");
        }
    }

    #[test]
    fn what_is_forgiven_need_not_have_come_and_nothing_more() {
        let mut ledger = ledger();
        ledger.forgive([1, 3]);
        let came = |last: [u64; 4], runs: [u32; 4]| Seen {
            last: last.into(),
            runs: runs.into(),
            unexpected: 0,
            unsynced: 0,
        };
        ledger.judge(&came([9, 8, 9, 8], [5, 8, 9, 8])).unwrap();
        assert!(ledger.judge(&came([9, 8, 9, 8], [5, 9, 9, 8])).is_err());
        assert!(ledger.judge(&came([9, 8, 9, 9], [5, 8, 9, 9])).is_err());
        assert!(ledger.judge(&came([8, 8, 9, 8], [5, 8, 9, 8])).is_err());
        ledger.restore([3]);
        ledger.judge(&came([9, 8, 9, 9], [5, 8, 9, 9])).unwrap();
        ledger.note_once_more();
        ledger.judge(&came([10; 4], [6, 9, 10, 10])).unwrap();
        assert!(ledger.judge(&came([10, 8, 10, 10], [6, 9, 10, 10])).is_err());
    }

    #[test]
    fn signals_only_rise() {
        assert!(ledger().note(&[9, 9, 8, 9]).is_err());
        assert!(ledger().note(&[9; 3]).is_err());
    }
}
