//! The driver works while the device never pauses.
//!
//! A local APIC collapses interrupts, so handler runs say nothing here. Instead the device writes a rising number to
//! memory before each signal and the handler keeps the last one that it read: if the last one written is seen once
//! everything is at rest, no interrupt was lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vm_msix::MsiMessage;

use crate::check::configuration::Delivery;
use crate::check::message_log::address;
use crate::check::rig::{HANG, Rig};
use crate::check::verdict::{Failure, Verdict, equal, holds};
use crate::machine::{FIRST_DEVICE_VECTOR, MaskBit};

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

/// A vector in a storm.
struct Stormed {
    vector: u16,
    /// The entries whose handlers can be run by it: where its numbers are written.
    entries: Vec<u16>,
}

/// The threads that signal, as the driver's side of a scenario sees them.
#[derive(Default)]
struct Storm {
    signals: AtomicU64,
    over: AtomicBool,
}

impl Storm {
    /// Returns when more signals have come, so that what follows is done in the middle of them.
    fn let_it_rage(&self) -> Verdict {
        let (enough, started) = (self.signals.load(Ordering::Acquire) + 10, Instant::now());
        while self.signals.load(Ordering::Acquire) < enough && !self.over.load(Ordering::Acquire) {
            holds(started.elapsed() < HANG, || "a trigger hangs".into())?;
            thread::yield_now();
        }
        Ok(())
    }

    /// Signals vectors at random until it is over: first the number, then the signal. After each gust comes a
    /// breath, in which a CPU that had to handle it gets on with its program: a guest that does nothing but
    /// handle interrupts would never mask one, and a kernel that does nothing but wake who signals lets others wait long.
    fn rage(
        &self,
        rig: &Rig,
        stormed: &[Stormed],
        mut random: fastrand::Rng,
    ) -> Result<Vec<Outcome>, Failure> {
        let gusts = match rig.configuration.delivery {
            Delivery::DeviceProcess => GUSTS_OF_A_PROCESS,
            Delivery::Signal | Delivery::Irqfd | Delivery::Host => GUSTS,
        };
        let mut signals = vec![0; stormed.len()];
        while !stormed.is_empty() && !self.over.load(Ordering::Acquire) {
            let index = random.usize(..stormed.len());
            signals[index] += 1;
            for &entry in &stormed[index].entries {
                rig.machine.set_sequence(entry, signals[index]);
            }
            rig.trigger(stormed[index].vector).inspect_err(|_| self.end())?;
            if self.signals.fetch_add(1, Ordering::AcqRel).is_multiple_of(gusts.signals) {
                thread::sleep(gusts.breath);
            }
        }
        let outcome =
            |(stormed, signals): (&Stormed, u64)| Outcome { vector: stormed.vector, signals };
        Ok(stormed.iter().zip(signals).map(outcome).collect())
    }

    fn end(&self) {
        self.over.store(true, Ordering::Release);
    }
}

/// What a storm did to one vector.
struct Outcome {
    vector: u16,
    /// How many signals there were, and so the last number.
    signals: u64,
}

/// A vector moves between two messages, by mask, rewrite, unmask, while it is signalled without a pause.
pub(super) fn affinity(rig: &Rig) -> Result<String, Failure> {
    const MOVES: usize = 400;
    rig.start_over()?;
    // Two programmings that share neither address nor data, so that a torn one shows.
    let homes = [(0, FIRST_DEVICE_VECTOR), (rig.machine.cpus() - 1, FIRST_DEVICE_VECTOR + 1)];
    let sent_to = |(cpu, vector)| rig.log.interrupts_to(cpu, vector);
    let sent_before = rig.log.interrupts();
    let homes_before = homes.map(sent_to);

    // By the IDT vector that it comes with, an interrupt is attributed to entry 0 or to entry 1.
    let stormed = [Stormed { vector: 0, entries: vec![0, 1] }];
    let outcomes = during_storm(rig, vec![stormed.into()], |storm| {
        (1..=MOVES).try_for_each(|step| {
            let (cpu, vector) = homes[step % 2];
            move_vector(rig, storm, MsiMessage::new(address(cpu), vector.into()))
        })
    })?;

    let signals = outcomes.iter().map(|outcome| outcome.signals).sum::<u64>();
    let seen = || rig.machine.last_seen(0).max(rig.machine.last_seen(1));
    rig.machine.wait_until(HANG, &mut || seen() == signals)?;
    rig.settle()?;
    equal("last number seen, of the last one written", seen(), signals)?;
    let to_homes: u64 =
        homes.into_iter().zip(homes_before).map(|(home, before)| sent_to(home) - before).sum();
    equal("messages to neither home", rig.log.interrupts() - sent_before - to_homes, 0)?;
    equal("interrupts of nobody", rig.machine.unexpected_interrupts(), vec![])?;
    rig.intact()?;
    let sent = match rig.is_trigger(0) {
        true => format!("{to_homes} messages"),
        false => "messages sent by KVM".into(),
    };
    Ok(format!("{MOVES} moves, {signals} signals, {sent}: none while masked, none torn, none lost"))
}

/// Two device threads signal vectors at random while the driver masks and unmasks them at random.
pub(super) fn masks(rig: &Rig) -> Result<String, Failure> {
    const STEPS: usize = 1000;
    rig.start_over()?;
    // Not to the CPU that drives.
    rig.program(0, rig.wave(), rig.machine.cpus() - 1, MaskBit::Clear)?;
    let vectors = rig.wave().min(16);
    let of_thread = |thread| {
        let vectors = (0..vectors).filter(|vector| vector % 2 == thread);
        vectors.map(|vector| Stormed { vector, entries: vec![vector] }).collect()
    };
    let outcomes = during_storm(rig, vec![of_thread(0), of_thread(1)], |storm| {
        let mut random = fastrand::Rng::with_seed(rig.seed);
        (0..STEPS).try_for_each(|_| {
            storm.let_it_rage()?;
            let vector = random.u16(..vectors);
            match random.bool() {
                true => rig.driver(0).mask(vector),
                false => rig.driver(0).unmask(vector),
            }
            Ok(())
        })
    })?;

    for &Outcome { vector, signals } in &outcomes {
        rig.driver(0).unmask(vector);
        rig.machine.wait_until(HANG, &mut || rig.machine.last_seen(vector) == signals)?;
        let what = format_args!("last number seen by vector {vector}, of the last one written");
        equal(what, rig.machine.last_seen(vector), signals)?;
    }
    rig.intact()?;
    let signals: u64 = outcomes.iter().map(|outcome| outcome.signals).sum();
    Ok(format!("{STEPS} masks and unmasks, {signals} signals on {vectors} vectors, none lost"))
}

/// Moves vector 0, and shows that nothing of it is sent from the return of the masking write to the unmask.
///
/// What the device sends itself is judged where it is sent. What KVM takes from an eventfd is judged by
/// the handler: once the CPUs have handled what they had when the write returned, it must not run.
fn move_vector(rig: &Rig, storm: &Storm, message: MsiMessage) -> Verdict {
    let handled = || rig.machine.runs(0) + rig.machine.runs(1);
    storm.let_it_rage()?;
    rig.driver(0).mask(0);
    let sent = rig.log.interrupts();
    rig.settle()?;
    let before = handled();
    storm.let_it_rage()?;
    rig.driver(0).program(0, message);
    equal("messages sent while masked", rig.log.interrupts() - sent, 0)?;
    rig.settle()?;
    equal("handler runs while masked", handled() - before, 0)?;
    rig.driver(0).unmask(0);
    rig.intact()
}

/// Runs a driver's work while threads signal without a pause, each its own vectors in random order.
fn during_storm(
    rig: &Rig,
    threads: Vec<Vec<Stormed>>,
    work: impl FnOnce(&Storm) -> Verdict,
) -> Result<Vec<Outcome>, Failure> {
    let storm = Storm::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (1..)
            .zip(threads)
            .map(|(thread, stormed)| {
                let random = fastrand::Rng::with_seed(rig.seed ^ thread);
                let storm = &storm;
                scope.spawn(move || storm.rage(rig, &stormed, random))
            })
            .collect();
        let worked = work(&storm);
        storm.end();
        let mut outcomes = Vec::new();
        for thread in threads {
            let ended = thread.join().map_err(|_| Failure::Seen("a storm panicked".into()))?;
            outcomes.extend(ended?);
        }
        worked.map(|()| outcomes)
    })
}
