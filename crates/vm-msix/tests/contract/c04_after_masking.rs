//! C4: after a masking write returns, no further message of that vector is sent: triggers in flight are waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::gate::{Gate, Stage, gate};
use crate::support::guest::{
    ENABLE, FUNCTION_MASK, OFF, bring_up, control, function, mask, unmask, write_dword,
};
use crate::support::host::{MockErrorOr, Wire};
use vm_msix::{MsiBackend, MsiMessage, MsixConfig, MsixObserver, Signal, SignalMode, VectorIndex};

/// Closes vector 0 by this while a trigger of it is in flight, and checks that the close waits for it.
fn waits<B: MsiBackend>(
    msix: &mut MsixConfig<B>,
    gate: &Gate,
    has_entered: &Receiver<Stage>,
    go_on: &Sender<()>,
    close: impl FnOnce(&mut MsixConfig<B>) + Send,
) where
    MsixConfig<B>: Send,
{
    gate.forget();
    let trigger = msix.trigger_handle(0).unwrap();
    let other = msix.trigger_handle(1).unwrap();
    thread::scope(|scope| {
        let producer = scope.spawn(move || gate.run(|| trigger.trigger().unwrap()));
        assert_eq!(has_entered.recv().unwrap(), Stage::Sending);
        let guest = scope.spawn(|| {
            close(msix);
            assert!(gate.has_sent(), "closed while a message was being sent");
        });
        // Nobody else waits for it.
        other.trigger().unwrap();
        go_on.send(()).unwrap();
        guest.join().unwrap();
        assert_eq!(producer.join().unwrap(), Signal::Sent);
        assert_eq!(has_entered.recv().unwrap(), Stage::Done);
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

/// Ends the producer also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
        let _stop = StopOnDrop(&stop);
        for _ in 0..200 {
            mask(&mut msix, 0);
            wire.take_sent();
            for _ in 0..20 {
                thread::yield_now();
            }
            assert_eq!(wire.take_sent(), []);
            unmask(&mut msix, 0);
        }
    });
}

#[test]
fn c04_a_send_that_panics_holds_up_no_close() {
    let panics = AtomicBool::new(true);
    let mode = SignalMode::new(move |_: VectorIndex, _: MsiMessage| {
        assert!(!panics.swap(false, Ordering::SeqCst), "a broken sender");
        MockErrorOr::Ok(())
    });
    let mut msix = function(1, mode);
    bring_up(&mut msix);
    let trigger = msix.trigger_handle(0).unwrap();
    thread::spawn(move || drop(trigger.trigger())).join().unwrap_err();
    mask(&mut msix, 0); // would wait for ever
    unmask(&mut msix, 0);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
}
