//! Triggers against masks, rewrites and changes of mode, on one vector, at full speed (C3, C4, C5).
//!
//! The oracle stands where a message leaves the function: a hook that runs while the trigger is in flight. The
//! control thread tells it what it has programmed: `masked` goes up after a masking write has returned and down before
//! the next unmasking one, so the hook must never see it up; and the message that it gets must be
//! the one programmed last, since a rewrite waits for what is in flight.
//!
//! [`everything`] has many vectors, and is judged by what is left at its end.

mod everything;
mod oracle;
mod producing;
#[path = "../support/mod.rs"]
mod support;

use std::hint::spin_loop;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use oracle::Oracle;
use producing::{Gate, with_producers};
use support::fixture::{Fixture, function};
use support::lapic::Lapic;
use support::producer::Producer;
use support::wait::until;
use support::{Msix, guest};
use vm_msix::{Counters, Counts, MsiMessage, MsixObserver};
use vm_msix_kvm::{Committer, KvmMsi, RequesterId, Translate};

/// The generation in the upper half of the address and in the data, so that a torn message shows.
fn memory_message(generation: u64) -> MsiMessage {
    MsiMessage::new(generation << 32 | 0x10_0000, generation as u32)
}

/// A function whose vector writes to memory: every message is seen, in both modes.
fn memory_function(delivery: KvmMsi, oracle: &Arc<Oracle>) -> (Msix<Arc<Counters>>, Arc<Counters>) {
    let hook = {
        let oracle = Arc::clone(oracle);
        move |_: RequesterId, message: MsiMessage| {
            oracle.leaves(message, message.address >> 32);
            if message.address >> 32 != u64::from(message.data) {
                oracle.faults.push(format!("{message:x?} is torn"));
            }
            oracle.carry();
        }
    };
    let counters = Arc::new(Counters::default());
    let msix = function(1, delivery.with_memory_write(hook));
    let mut msix = msix.with_observer(Arc::clone(&counters));
    guest(&mut msix).bring_up(&[memory_message(0)]);
    (msix, counters)
}

/// Masks, rewrites and unmasks while producers run; between rounds it now and then lets everything come to rest and
/// looks for what is missing.
fn storm(oracle: &Oracle, gate: &Gate, rounds: u64, lock: impl Fn() -> Locked) {
    for round in 1..=rounds {
        oracle.mask(&mut lock());
        if round % 2 == 0 {
            oracle.program(&mut lock(), round, memory_message(round));
        }
        match round % 64 {
            // Closed for long enough to meet every mode.
            0 => gate.more_come(),
            spins => (0..spins).for_each(|_| spin_loop()),
        }
        oracle.unmask(&mut lock());
        if round % 64 == 0 {
            gate.more_come();
            gate.rest();
            // A change of mode may be about to deliver it.
            until("every signal to arrive", || oracle.all_arrived());
            assert!(!guest(&mut lock()).is_pending(0));
            gate.go_on();
        }
        oracle.expect_no_fault();
    }
}

/// One storm at a time: KVM's own threads want a CPU too.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Routes that are committed at once, and routes that a thread commits.
fn at_once_and_later(fixture: &Fixture) -> [KvmMsi; 2] {
    let later = Committer::spawn(fixture.router.clone()).unwrap();
    [fixture.delivery(), fixture.delivery_by(later)]
}

type Locked = MutexGuard<'static, Msix<Arc<Counters>>>;

/// Configuration space's lock, as a VMM has one.
fn shared(msix: Msix<Arc<Counters>>) -> &'static Mutex<Msix<Arc<Counters>>> {
    Box::leak(Box::new(Mutex::new(msix)))
}

#[test]
fn c3_c4_c5_in_signal_mode_every_signal_is_accounted_for() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    at_once_and_later(&fixture).into_iter().for_each(storm_in_signal_mode);
}

fn storm_in_signal_mode(delivery: KvmMsi) {
    let (oracle, gate) = (Arc::new(Oracle::default()), Gate::default());
    let (msix, counters) = memory_function(delivery, &oracle);
    let trigger = msix.trigger_handle(0).unwrap();
    let msix = shared(msix);
    thread::scope(|scope| {
        with_producers(scope, &trigger, &oracle, &gate, || {
            storm(&oracle, &gate, 6000, || msix.lock().unwrap());
        });
    });
    let Counts { sent, latched, collapsed, delivered, handed_over, failed, retracted, .. } =
        counters.counts();
    let triggers = gate.triggers.load(Ordering::Relaxed);
    assert_eq!(sent + latched + collapsed, triggers);
    assert_eq!(latched, delivered);
    assert_eq!(sent + delivered, oracle.messages.load(Ordering::Relaxed));
    assert_eq!((handed_over, failed, retracted), (0, 0, 0));
    assert!(latched > 0 && sent > 0, "the storm met both: {latched} {sent}");
}

#[test]
fn c3_c4_c5_hold_while_the_vector_goes_on_and_off_its_descriptor() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    at_once_and_later(&fixture)
        .into_iter()
        .for_each(|delivery| storm_in_both_modes(&fixture, delivery));
}

fn storm_in_both_modes(fixture: &Fixture, delivery: KvmMsi) {
    let (oracle, gate) = (Arc::new(Oracle::default()), Gate::default());
    let (msix, counters) = memory_function(delivery, &oracle);
    let trigger = msix.trigger_handle(0).unwrap();
    let msix = shared(msix);
    let mut written = 0;
    thread::scope(|scope| {
        scope.spawn(|| written = change_modes(&gate, msix, true));
        with_producers(scope, &trigger, &oracle, &gate, || {
            storm(&oracle, &gate, 3000, || msix.lock().unwrap());
        });
    });
    let counts = counters.counts();
    let triggers = gate.triggers.load(Ordering::Relaxed);
    assert_eq!(counts.sent + counts.latched + counts.collapsed, triggers);
    assert_eq!(counts.failed, 0);
    assert!(written > 0, "the storm met irqfd mode");
    assert!(oracle.messages.load(Ordering::Relaxed) <= triggers + written);
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

/// Takes the vector onto its descriptor and off again, until the storm is over, and writes the descriptor meanwhile if
/// it shall. Returns how often it did.
fn change_modes<O: MsixObserver>(gate: &Gate, msix: &Mutex<Msix<O>>, write: bool) -> u64 {
    let mut written = 0;
    while !gate.done.load(Ordering::Acquire) {
        let guard = msix.lock().unwrap().get_irqfd(0).unwrap();
        thread::yield_now();
        if write {
            Producer::of(&guard).signal();
            written += 1;
        }
        drop(guard);
        thread::yield_now();
    }
    written
}

const VECTOR: u8 = 0x41;

/// Sees the messages of signal mode: a translation happens in flight.
struct Tap(Arc<Oracle>);

impl Translate for Tap {
    fn translate(&self, _requester: RequesterId, message: MsiMessage) -> Option<MsiMessage> {
        self.0.leaves(message, u64::from(message.data >> 16));
        Some(message)
    }
}

/// Interrupts, with the APIC as the oracle: nothing while masked, what was latched once, in both modes.
#[test]
fn c3_c4_c13_interrupts_hold_while_the_vector_goes_on_and_off_its_descriptor() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    at_once_and_later(&fixture)
        .into_iter()
        .for_each(|delivery| storm_of_interrupts(&fixture, delivery));
}

fn storm_of_interrupts(fixture: &Fixture, delivery: KvmMsi) {
    let (oracle, gate) = (Arc::new(Oracle::default()), Gate::default());
    // The upper half of the data is not the interrupt's.
    let message = |generation: u64| {
        MsiMessage::new(0xfee0_0000, (generation as u32) << 16 | u32::from(VECTOR))
    };
    let counters = Arc::new(Counters::default());
    let msix = function(1, delivery.with_translate(Tap(Arc::clone(&oracle))));
    let mut msix = msix.with_observer(Arc::clone(&counters));
    guest(&mut msix).bring_up(&[message(0)]);
    let trigger = msix.trigger_handle(0).unwrap();
    let (msix, apic) = (shared(msix), fixture.apic());
    let lock = || msix.lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| change_modes(&gate, msix, false));
        with_producers(scope, &trigger, &oracle, &gate, || {
            for round in 1..=150 {
                interrupt_round(&oracle, &gate, apic, round, message(round), lock);
            }
        });
    });
    apic.clear();
    trigger.trigger().unwrap();
    until("the last interrupt", || apic.has(VECTOR));
    assert_eq!(counters.counts().failed, 0);
}

/// Closed: nothing comes, and it shows as pending. Opened with nobody to trigger: it comes, once. Open: more comes.
fn interrupt_round(
    oracle: &Oracle,
    gate: &Gate,
    apic: &Lapic,
    generation: u64,
    message: MsiMessage,
    lock: impl Fn() -> Locked,
) {
    oracle.mask(&mut lock());
    apic.clear();
    oracle.program(&mut lock(), generation, message);
    gate.more_come();
    apic.expect_nothing();
    gate.rest();
    assert!(guest(&mut lock()).is_pending(0));

    // Nobody triggers now: what comes was latched, and it comes once.
    oracle.unmask(&mut lock());
    until("what was latched", || apic.has(VECTOR));
    apic.clear();
    oracle.mask(&mut lock());
    apic.expect_nothing();
    assert!(!guest(&mut lock()).is_pending(0));
    oracle.unmask(&mut lock());

    gate.go_on();
    gate.more_come();
    until("what comes while open", || apic.has(VECTOR));
    oracle.expect_no_fault();
}
