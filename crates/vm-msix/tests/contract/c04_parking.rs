//! C4: the wait has a strategy. A few looks, then it parks; the last trigger in flight wakes it.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::support::gate::{Stage, gate};
use crate::support::guest::{bring_up, function, mask, message, unmask};
use crate::support::host::Wire;
use vm_msix::atomic::AtomicU32;
use vm_msix::latch::{Latch, Opened};
use vm_msix::{MsiMessage, Relax, Signal, SignalMode, Yield};

/// Parks on a condition variable, but for the first time, which returns for no reason; and counts.
#[derive(Default)]
struct Parking {
    lock: Mutex<()>,
    woken: Condvar,
    parked: AtomicUsize,
    unparked: AtomicUsize,
    /// The close is done.
    done: AtomicBool,
}

impl Parking {
    /// A close that may park.
    fn close(&self, close: impl FnOnce()) {
        close();
        let _guard = self.lock.lock().unwrap();
        self.done.store(true, Ordering::SeqCst);
        self.woken.notify_all();
    }

    /// Waits until it has, and sleeps.
    fn wait_until_parked(&self) {
        let guard = self.lock.lock().unwrap();
        let neither = |_: &mut ()| {
            self.parked.load(Ordering::SeqCst) < 2 && !self.done.load(Ordering::SeqCst)
        };
        drop(self.woken.wait_while(guard, neither).unwrap());
        assert!(!self.done.load(Ordering::SeqCst), "closed without having waited");
    }
}

impl Relax for &Parking {
    fn spins(&self) -> u32 {
        2
    }

    fn park(&self, word: &AtomicU32, value: u32) {
        let mut guard = self.lock.lock().unwrap();
        let is_first = self.parked.fetch_add(1, Ordering::SeqCst) == 0;
        self.woken.notify_all();
        while !is_first && word.load(vm_msix::atomic::Ordering::SeqCst) == value {
            guard = self.woken.wait(guard).unwrap();
        }
    }

    fn unpark(&self, _word: &AtomicU32) {
        let _guard = self.lock.lock().unwrap();
        self.unparked.fetch_add(1, Ordering::SeqCst);
        self.woken.notify_all();
    }
}

#[test]
fn c04_the_wait_parks_after_a_few_looks_and_the_last_trigger_wakes_it() {
    let (gate, has_entered, go_on) = gate();
    let parking = Box::leak(Box::<Parking>::default());
    let (sender, relax) = (Arc::clone(&gate), &*parking);
    let mode = SignalMode::new(move |vector, _: MsiMessage| sender.send(vector)).with_relax(relax);
    let mut msix = function(2, mode);
    bring_up(&mut msix);
    let trigger = msix.trigger_handle(0).unwrap();
    thread::scope(|scope| {
        let go_on = go_on; // lets the sender go on also when the test fails
        let producer = scope.spawn(|| gate.run(|| trigger.trigger().unwrap()));
        assert_eq!(has_entered.recv().unwrap(), Stage::Sending);
        let guest = scope.spawn(|| {
            parking.close(|| {
                mask(&mut msix, 0);
            })
        });
        parking.wait_until_parked();
        go_on.send(()).unwrap();
        guest.join().unwrap();
        producer.join().unwrap();
    });
    assert_eq!(
        parking.parked.load(Ordering::SeqCst),
        2,
        "parked with a value that is not the word's"
    );
    assert_eq!(parking.unparked.load(Ordering::SeqCst), 1);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
}

/// Does not wait: panics where a close would have to.
#[derive(Default)]
struct Refusing {
    unparked: AtomicUsize,
}

impl Relax for Refusing {
    fn spins(&self) -> u32 {
        0
    }

    fn park(&self, _word: &AtomicU32, _value: u32) {
        panic!("the close waits");
    }

    fn unpark(&self, _word: &AtomicU32) {
        self.unparked.fetch_add(1, Ordering::SeqCst);
    }
}

/// Whether a close waits while so many signals are in flight, each inside of the one before.
fn close_waits(latch: &Latch, relax: &Refusing, in_flight: usize) -> bool {
    if in_flight == 0 {
        return catch_unwind(AssertUnwindSafe(|| latch.close(relax))).is_err();
    }
    let mut waits = false;
    let send = |_| {
        waits = close_waits(latch, relax, in_flight - 1);
        Ok::<_, Infallible>(Signal::Sent)
    };
    assert_eq!(latch.signal(relax, send), Ok(Signal::Sent));
    waits
}

#[test]
fn c04_a_close_waits_for_any_number_of_triggers_and_the_last_one_wakes_it() {
    for in_flight in 0..=5 {
        let (latch, relax) = (Latch::new(), Refusing::default());
        let send = |_| Ok::<_, Infallible>(Signal::Sent);
        assert_eq!(latch.open(message(0), &relax, send), Ok(Opened::Empty));
        let waits = in_flight > 0;
        assert_eq!(close_waits(&latch, &relax, in_flight), waits, "{in_flight}");
        assert_eq!(relax.unparked.load(Ordering::SeqCst), usize::from(waits), "{in_flight}");
    }
}

/// Asks for everything once.
fn use_all<R: Relax>(relax: R) -> u32 {
    let word = AtomicU32::new(0);
    relax.park(&word, 0);
    relax.unpark(&word);
    relax.spins()
}

#[test]
fn c04_a_reference_to_a_strategy_is_that_strategy() {
    let parking = &Parking::default();
    let reference: &&Parking = &parking;
    assert_eq!(use_all(reference), 2);
    assert_eq!(parking.parked.load(Ordering::SeqCst), 1);
    assert_eq!(parking.unparked.load(Ordering::SeqCst), 1);
}

#[test]
fn c04_with_std_the_wait_looks_more_than_once_before_others_run() {
    assert!(Yield.spins() > 1);
}

#[test]
fn c04_triggers_and_closes_that_do_not_meet_park_nobody_and_wake_nobody() {
    let parking = Box::leak(Box::<Parking>::default());
    let wire = Arc::<Wire>::default();
    let mut msix = function(1, wire.signal_mode().with_relax(&*parking));
    bring_up(&mut msix);
    for _ in 0..10 {
        msix.trigger(0).unwrap();
        mask(&mut msix, 0);
        msix.trigger(0).unwrap();
        unmask(&mut msix, 0);
    }
    assert_eq!(wire.take_sent().len(), 20);
    assert_eq!(parking.parked.load(Ordering::SeqCst), 0);
    assert_eq!(parking.unparked.load(Ordering::SeqCst), 0);
}

#[test]
fn c04_a_signal_while_a_close_waits_is_latched_and_does_not_wait() {
    let (gate, has_entered, go_on) = gate();
    let parking = Box::leak(Box::<Parking>::default());
    let (sender, relax) = (Arc::clone(&gate), &*parking);
    let mode = SignalMode::new(move |vector, _: MsiMessage| sender.send(vector)).with_relax(relax);
    let mut msix = function(2, mode);
    bring_up(&mut msix);
    let triggers = [0, 0].map(|vector| msix.trigger_handle(vector).unwrap());
    let [in_flight, late] = triggers;
    thread::scope(|scope| {
        let go_on = go_on; // lets the sender go on also when the test fails
        let producer = scope.spawn(|| gate.run(|| in_flight.trigger().unwrap()));
        assert_eq!(has_entered.recv().unwrap(), Stage::Sending);
        let guest = scope.spawn(|| {
            parking.close(|| {
                mask(&mut msix, 0);
            })
        });
        parking.wait_until_parked();
        assert_eq!(late.trigger().unwrap(), Signal::Latched);
        assert_eq!(late.trigger().unwrap(), Signal::Collapsed);
        go_on.send(()).unwrap();
        guest.join().unwrap();
        producer.join().unwrap();
    });
}
