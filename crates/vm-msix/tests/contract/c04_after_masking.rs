//! C4: after a masking write returns, no further message of that vector is sent: triggers in flight are waited for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::support::guest::{
    ENABLE, FUNCTION_MASK, OFF, bring_up, control, function, mask, unmask, write_dword,
};
use crate::support::host::{MockErrorOr, Wire};
use vm_msix::atomic::AtomicU32;
use vm_msix::{MsiBackend, MsiMessage, MsixConfig, MsixObserver, Relax, Signal};
use vm_msix::{SignalMode, VectorIndex};

/// Sends of vector 0 that stop in the middle and say so.
struct Gate {
    entered: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
    sent: AtomicBool,
}

fn gate() -> (Arc<Gate>, Receiver<()>, Sender<()>) {
    let (entered, has_entered) = channel();
    let (go_on, may_go_on) = channel();
    let gate = Gate {
        entered: Mutex::new(entered),
        go_on: Mutex::new(may_go_on),
        sent: AtomicBool::new(false),
    };
    (Arc::new(gate), has_entered, go_on)
}

impl Gate {
    fn send(&self, vector: VectorIndex) -> MockErrorOr<()> {
        if vector.get() == 0 {
            self.entered.lock().unwrap().send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
            self.sent.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Parks on a condition variable, and counts.
#[derive(Default)]
struct Parking {
    lock: Mutex<()>,
    woken: Condvar,
    parked: AtomicUsize,
    unparked: AtomicUsize,
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

/// Closes vector 0 by this while a trigger of it is in flight, and checks that the close waits for it.
fn waits<B: MsiBackend>(
    msix: &mut MsixConfig<B>,
    gate: &Gate,
    has_entered: &Receiver<()>,
    go_on: &Sender<()>,
    close: impl FnOnce(&mut MsixConfig<B>) + Send,
) where
    MsixConfig<B>: Send,
{
    gate.sent.store(false, Ordering::SeqCst);
    let trigger = msix.trigger_handle(0).unwrap();
    let other = msix.trigger_handle(1).unwrap();
    thread::scope(|scope| {
        let producer = scope.spawn(move || trigger.trigger().unwrap());
        has_entered.recv().unwrap();
        let guest = scope.spawn(|| {
            close(msix);
            assert!(gate.sent.load(Ordering::SeqCst), "closed while a message was being sent");
        });
        // Nobody else waits for it.
        other.trigger().unwrap();
        go_on.send(()).unwrap();
        guest.join().unwrap();
        assert_eq!(producer.join().unwrap(), Signal::Sent);
    });
}

#[test]
fn c04_a_masking_write_waits_for_the_triggers_in_flight() {
    let (gate, has_entered, go_on) = gate();
    let sender = Arc::clone(&gate);
    let mode = SignalMode::new(move |vector, _: MsiMessage| sender.send(vector));
    let mut msix = function(2, mode);
    bring_up(&mut msix);
    let mut closes_by = |close: fn(&mut MsixConfig<_>), open: fn(&mut MsixConfig<_>)| {
        waits(&mut msix, &gate, &has_entered, &go_on, close);
        open(&mut msix);
    };
    closes_by(
        |msix| {
            mask(msix, 0);
        },
        |msix| {
            unmask(msix, 0);
        },
    );
    closes_by(
        |msix| {
            control(msix, ENABLE | FUNCTION_MASK);
        },
        |msix| {
            control(msix, ENABLE);
        },
    );
    closes_by(
        |msix| {
            control(msix, OFF);
        },
        |msix| {
            control(msix, ENABLE);
        },
    );
    closes_by(|msix| msix.set_bus_master(false), |msix| msix.set_bus_master(true));
    closes_by(
        |msix| {
            write_dword(msix, 0, 8, 0x99);
        },
        |_| (),
    );
    closes_by(|msix| msix.reset(), bring_up);
    closes_by(|msix| msix.restore(&msix.snapshot()).unwrap(), |_| ());
    closes_by(|msix| msix.destroy(), |_| ());
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
        let producer = scope.spawn(move || trigger.trigger().unwrap());
        has_entered.recv().unwrap();
        let guest = scope.spawn(|| mask(&mut msix, 0));
        let guard = parking.lock.lock().unwrap();
        let nobody = |_: &mut ()| parking.parked.load(Ordering::SeqCst) == 0;
        drop(parking.woken.wait_while(guard, nobody).unwrap());
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
        let producer = scope.spawn(move || in_flight.trigger().unwrap());
        has_entered.recv().unwrap();
        let guest = scope.spawn(|| mask(&mut msix, 0));
        let guard = parking.lock.lock().unwrap();
        let nobody = |_: &mut ()| parking.parked.load(Ordering::SeqCst) == 0;
        drop(parking.woken.wait_while(guard, nobody).unwrap());
        assert_eq!(late.trigger().unwrap(), Signal::Latched);
        assert_eq!(late.trigger().unwrap(), Signal::Collapsed);
        go_on.send(()).unwrap();
        guest.join().unwrap();
        producer.join().unwrap();
    });
}

/// Stops in `signalled`, as long as it is told.
struct Dawdler {
    entered: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

impl MsixObserver for Dawdler {
    fn signalled(&self, _vector: VectorIndex, _signal: Signal) {
        self.entered.lock().unwrap().send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
    }
}

#[test]
fn c04_observers_run_outside_of_what_a_close_waits_for() {
    let (entered, has_entered) = channel();
    let (go_on, may_go_on) = channel();
    let dawdler = Dawdler { entered: Mutex::new(entered), go_on: Mutex::new(may_go_on) };
    let wire = Arc::<Wire>::default();
    let mut msix = function(1, wire.signal_mode()).with_observer(dawdler);
    bring_up(&mut msix);
    let trigger = msix.trigger_handle(0).unwrap();
    thread::scope(|scope| {
        let producer = scope.spawn(move || trigger.trigger().unwrap());
        has_entered.recv().unwrap();
        mask(&mut msix, 0); // would wait for ever
        go_on.send(()).unwrap();
        assert_eq!(producer.join().unwrap(), Signal::Sent);
    });
}

#[test]
fn c04_nothing_is_sent_between_a_masking_write_and_the_next_unmasking_one() {
    let wire = Arc::<Wire>::default();
    let mut msix = function(1, wire.signal_mode());
    bring_up(&mut msix);
    let trigger = msix.trigger_handle(0).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                trigger.trigger().unwrap();
            }
        });
        for _ in 0..500 {
            mask(&mut msix, 0);
            wire.take_sent();
            for _ in 0..20 {
                thread::yield_now();
            }
            assert_eq!(wire.take_sent(), []);
            unmask(&mut msix, 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
