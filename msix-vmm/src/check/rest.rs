//! All at rest: what the guest has seen by then.

use serde::{Deserialize, Serialize};
use vm_msix::Signal;

use super::rig::{HANG, Rig};
use super::verdict::{Failure, Verdict};

/// What the guest's memory says of interrupts, a number for each vector, and what must not be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The last number that a handler read.
    pub(crate) last: Vec<u64>,
    /// How often the handler ran.
    pub(crate) runs: Vec<u32>,
    /// Interrupts that no vector accounts for.
    pub(crate) unexpected: usize,
    /// Vectors that are not routed as the registers ask.
    pub(crate) unsynced: usize,
}

/// Waits until all that must come to every vector has come, by the last number that it has seen and its handler's runs, and
/// tells what the guest has seen; that, too, if it is not what was waited for, because that is not judged here.
pub(crate) fn at_rest(
    rig: &Rig,
    has_come: impl Fn(u16, u64, u32) -> bool,
) -> Result<Seen, Failure> {
    let machine = &rig.machine;
    let vectors = 0..rig.vectors();
    let all_came = || {
        let mut vectors = vectors.clone();
        vectors.all(|vector| has_come(vector, machine.last_seen(vector), machine.runs(vector)))
    };
    machine.wait_until(HANG, &mut || all_came())?;
    rig.settle()?;
    Ok(Seen {
        last: vectors.clone().map(|vector| machine.last_seen(vector)).collect(),
        runs: vectors.clone().map(|vector| machine.runs(vector)).collect(),
        unexpected: machine.unexpected_interrupts().len(),
        unsynced: rig.device.unsynced()?,
    })
}

/// Signals every vector once: it comes behind whatever was still on its way.
pub(crate) fn once_more(
    rig: &Rig,
    signals: &mut [u64],
    mut told: impl FnMut(u16, Signal),
) -> Verdict {
    for (vector, signals) in (0..).zip(signals) {
        *signals += 1;
        rig.machine.set_sequence(vector, *signals);
        told(vector, rig.trigger(vector)?);
    }
    Ok(())
}
