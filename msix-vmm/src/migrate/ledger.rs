//! The oracles. They know what was signalled, and hear what the guest has seen; nothing of how it came there.

use super::load::pace;
use super::messages::Seen;
use crate::check::storm::Pace;
use crate::check::verdict::{Verdict, equal, holds};

/// How often each vector has been signalled.
pub(super) struct Ledger {
    signals: Vec<u64>,
}

impl Ledger {
    pub(super) fn new(vectors: u16) -> Self {
        Self { signals: vec![0; vectors.into()] }
    }

    /// Notes what has been signalled by now.
    pub(super) fn note(&mut self, signals: &[u64]) -> Verdict {
        equal("vectors of the device that left", signals.len(), self.signals.len())?;
        let rises = self.signals.iter().zip(signals).all(|(before, now)| before <= now);
        holds(rises, || "a device has fewer signals than before".into())?;
        self.signals.copy_from_slice(signals);
        Ok(())
    }

    /// Notes one more signal of every vector.
    pub(super) fn note_once_more(&mut self) {
        self.signals.iter_mut().for_each(|signals| *signals += 1);
    }

    /// All signals, at this pace.
    pub(super) fn total(&self, of: Pace) -> u64 {
        self.vectors().filter(|(vector, _)| pace(*vector) == of).map(|(_, signals)| signals).sum()
    }

    /// What must be at rest: the last number seen is the last one written, of every vector; under handshake as many handler
    /// runs as signals; and no interrupt that nobody sent.
    pub(super) fn judge(&self, seen: &Seen) -> Verdict {
        let Seen { last, runs, unexpected, unsynced } = seen;
        equal(
            "vectors that were looked at",
            (last.len(), runs.len()),
            (self.signals.len(), self.signals.len()),
        )?;
        for (vector, signals) in self.vectors() {
            let (last, runs) = (last[usize::from(vector)], u64::from(runs[usize::from(vector)]));
            equal(format_args!("last number seen by vector {vector}"), last, signals)?;
            match pace(vector) {
                Pace::Handshake => {
                    equal(format_args!("handler runs of vector {vector}"), runs, signals)?
                }
                // Of what comes close together a local APIC makes one.
                Pace::Storm => holds(runs <= signals, || {
                    format!("handler runs of vector {vector}: {runs}, for {signals} signals")
                })?,
            }
        }
        equal("interrupts of nobody", *unexpected, 0)?;
        equal("vectors out of sync", *unsynced, 0)
    }

    fn vectors(&self) -> impl Iterator<Item = (u16, u64)> {
        (0..).zip(self.signals.iter().copied())
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
    fn signals_only_rise() {
        assert!(ledger().note(&[9, 9, 8, 9]).is_err());
        assert!(ledger().note(&[9; 3]).is_err());
    }
}
