//! Device threads that signal without a pause, while a driver works.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::configuration::Delivery;
use super::rig::{HANG, Rig};
use super::tally::Tally;
use super::verdict::{Failure, Verdict, holds};

/// How a storm blows.
struct Gusts {
    /// Signals without a pause.
    signals: u64,
    /// The pause after them.
    breath: Duration,
}

/// Gusts are about as long as two handlers run.
const GUSTS: Gusts = Gusts { signals: 256, breath: Duration::from_micros(100) };
/// A device process is asked for every signal. Two processes that wake each other by turns can keep a CPU to themselves:
/// Linux 6.18 has let KVM's worker, which a masking write waits for, wait beside them for a minute.
const GUSTS_OF_A_PROCESS: Gusts = Gusts { signals: 16, breath: Duration::from_millis(1) };

/// Of so many in 256 signals, a signal of some vector is taken back.
const RETRACTS: u8 = 4;

/// When a vector is signalled next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At any time: of what comes before the handler has run, the last one counts.
    Storm,
    /// When its handler has run for the signal before: handler runs = signals, exactly.
    Handshake,
}

impl Pace {
    /// Vectors differ in what judges them and in what signals them: these are all kinds.
    pub(crate) const KINDS: u16 = 4;

    /// Where both paces are wanted. Every other pair is for the one oracle and for the other; on descriptors, every other
    /// vector is written by somebody who knows nothing of MSI-X.
    pub(crate) fn of(vector: u16) -> Self {
        if vector % Self::KINDS < 2 { Self::Storm } else { Self::Handshake }
    }
}

/// What of a vector's signals need not come, and what comes once more.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Forgiven {
    /// Pending signals that were taken back: by the device, a reset or a restore.
    pub(crate) taken_back: u64,
    /// Whether the last one was: its number need not be seen.
    pub(crate) last: bool,
    /// Signals that a saved state brought once more.
    pub(crate) restored: u64,
}

impl Forgiven {
    /// What is pending is taken back.
    pub(crate) fn take_back(&mut self) {
        self.taken_back += 1;
        self.last = true;
    }

    /// Whether a handler that ran so often for so many signals owes nothing.
    pub(crate) fn are_due(&self, runs: u64, signals: u64) -> bool {
        runs + self.taken_back == signals + self.restored
    }
}

/// A vector in a storm.
pub(crate) struct Stormed {
    pub(crate) vector: u16,
    /// The entries whose handlers can be run by it: where its numbers are written.
    pub(crate) entries: Vec<u16>,
    pub(crate) pace: Pace,
    /// How many signals there have been, and so the last number.
    pub(crate) signals: u64,
    /// What of them need not come.
    pub(crate) forgiven: Forgiven,
    /// What the device was told of those of this storm.
    pub(crate) tally: Tally,
}

/// The threads that signal, as the driver's side of a scenario sees them.
pub(crate) struct Storm {
    /// How many signals each thread may make in all.
    granted: AtomicU64,
    signals: AtomicU64,
    over: AtomicBool,
    retracting: bool,
}

impl Storm {
    /// One that rages until it is over.
    pub(crate) fn endless() -> Self {
        Self::granted(u64::MAX)
    }

    /// One that pauses until the driver [grants](Self::rage_on) it something: a driver whose CPU has to handle
    /// it gets on with its program at some time, however slow that CPU is.
    pub(crate) fn rationed() -> Self {
        Self::granted(0)
    }

    fn granted(signals: u64) -> Self {
        let (granted, signals) = (AtomicU64::new(signals), AtomicU64::new(0));
        Self { granted, signals, over: AtomicBool::new(false), retracting: false }
    }

    /// Has the threads take signals back now and then.
    pub(crate) fn retracting(self) -> Self {
        Self { retracting: true, ..self }
    }

    /// Lets each thread make so many more signals, and returns in the middle of them or after them.
    pub(crate) fn rage_on(&self, signals: u64) -> Verdict {
        // Before the grant: a thread may be done with it at once.
        let before = self.signals.load(Ordering::Acquire);
        self.granted.fetch_add(signals, Ordering::AcqRel);
        self.wait_for(before + 10)
    }

    /// Returns when more signals have come, so that what follows is done in the middle of them.
    pub(crate) fn let_it_rage(&self) -> Verdict {
        self.wait_for(self.signals.load(Ordering::Acquire) + 10)
    }

    fn wait_for(&self, enough: u64) -> Verdict {
        let started = Instant::now();
        while self.signals.load(Ordering::Acquire) < enough && !self.over.load(Ordering::Acquire) {
            holds(started.elapsed() < HANG, || "a trigger hangs".into())?;
            thread::yield_now();
        }
        Ok(())
    }

    /// Signals vectors at random until it is over: first the number, then the signal. After each gust comes a
    /// breath, in which a CPU that had to handle it gets on with its program: a guest that does nothing but
    /// handle interrupts would never mask one.
    fn rage(
        &self,
        rig: &Rig,
        mut all: Vec<Stormed>,
        mut random: fastrand::Rng,
    ) -> Result<Vec<Stormed>, Failure> {
        let gusts = match rig.configuration.delivery {
            Delivery::DeviceProcess => GUSTS_OF_A_PROCESS,
            Delivery::Signal | Delivery::Irqfd | Delivery::Host => GUSTS,
        };
        let mut made = 0;
        while !all.is_empty() && !self.over.load(Ordering::Acquire) {
            if made == self.granted.load(Ordering::Acquire) {
                thread::sleep(gusts.breath);
                continue;
            }
            let index = random.usize(..all.len());
            let stormed = &mut all[index];
            if !stormed.is_due(rig) {
                thread::yield_now();
                continue;
            }
            (made, stormed.signals) = (made + 1, stormed.signals + 1);
            for &entry in &stormed.entries {
                rig.machine.set_sequence(entry, stormed.signals);
            }
            let signal = rig.trigger(stormed.vector).inspect_err(|_| self.end())?;
            stormed.forgiven.last = false;
            stormed.tally.count(rig, stormed.vector, signal);
            if self.retracting && random.u8(..) < RETRACTS {
                let index = random.usize(..all.len());
                all[index].retract(rig).inspect_err(|_| self.end())?;
            }
            if self.signals.fetch_add(1, Ordering::AcqRel).is_multiple_of(gusts.signals) {
                thread::sleep(gusts.breath);
            }
        }
        Ok(all)
    }

    fn end(&self) {
        self.over.store(true, Ordering::Release);
    }
}

impl Stormed {
    /// Not yet signalled, at this pace.
    pub(crate) fn new(vector: u16, entries: Vec<u16>, pace: Pace) -> Self {
        let (forgiven, tally) = (Forgiven::default(), Tally::default());
        Self { vector, entries, pace, signals: 0, forgiven, tally }
    }

    /// Takes a pending signal back, if there is one.
    fn retract(&mut self, rig: &Rig) -> Verdict {
        if rig.device.retract(self.vector)? {
            self.forgiven.take_back();
            self.tally.retracted += 1;
        }
        Ok(())
    }

    fn is_due(&self, rig: &Rig) -> bool {
        let runs = || u64::from(rig.machine.runs(self.vector));
        self.pace == Pace::Storm || self.forgiven.are_due(runs(), self.signals)
    }
}

/// Runs a driver's work while threads signal without a pause, each its own vectors in random order.
pub(crate) fn during_storm(
    rig: &Rig,
    storm: Storm,
    threads: Vec<Vec<Stormed>>,
    work: impl FnOnce(&Storm) -> Verdict,
) -> Result<Vec<Stormed>, Failure> {
    thread::scope(|scope| {
        let threads: Vec<_> = (1..)
            .zip(threads)
            .map(|(thread, stormed)| {
                let random = fastrand::Rng::with_seed(rig.seed ^ thread);
                let storm = &storm;
                scope.spawn(move || storm.rage(rig, stormed, random))
            })
            .collect();
        let worked = work(&storm);
        storm.end();
        let mut all = Vec::new();
        for thread in threads {
            let ended = thread.join().map_err(|_| Failure::Seen("a storm panicked".into()))?;
            all.extend(ended?);
        }
        worked.map(|()| all)
    })
}
