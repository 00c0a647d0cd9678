//! C4: the wait has a strategy. A few looks, then it parks; the last trigger in flight wakes it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::support::gate::{Stage, gate};
use crate::support::guest::{bring_up, function, mask, unmask};
use crate::support::host::Wire;
use vm_msix::atomic::AtomicU32;
use vm_msix::{MsiMessage, Relax, Signal, SignalMode};

/// Parks on a condition variable, and counts.
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

    /// Waits until it has.
    fn wait_until_parked(&self) {
        let guard = self.lock.lock().unwrap();
        let neither = |_: &mut ()| {
            self.parked.load(Ordering::SeqCst) == 0 && !self.done.load(Ordering::SeqCst)
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
        self.parked.fetch_add(1, Ordering::SeqCst);
        self.woken.notify_all();
        while word.load(vm_msix::atomic::Ordering::SeqCst) == value {
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
    assert_eq!(parking.unparked.load(Ordering::SeqCst), 1);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
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
