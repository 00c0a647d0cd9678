//! Where to look for Pending Bits: a hint is never missing where a signal waits.

use std::convert::Infallible;
use std::sync::Arc;

use loom::thread::{self, JoinHandle};
use vm_msix::latch::Opened;
use vm_msix::latches::Latches;
use vm_msix::{Signal, Spin, VectorCount, VectorIndex};

use crate::bench::{FIRST, SECOND};

/// The latches of a function with two vectors, whose hints share a word.
struct Function {
    latches: Latches<Spin>,
}

impl Function {
    fn new() -> Arc<Self> {
        Arc::new(Self { latches: Latches::new(VectorCount::new(2).unwrap(), Spin) })
    }

    fn signal(&self, vector: u16) -> Signal {
        let signal = self.latches.signal(index(vector), |_| Ok::<_, Infallible>(Signal::Sent));
        signal.unwrap().unwrap()
    }

    fn spawn_trigger(self: &Arc<Self>, vector: u16) -> JoinHandle<Signal> {
        let function = Arc::clone(self);
        thread::spawn(move || function.signal(vector))
    }

    fn open(&self, vector: u16) -> Opened {
        let opened = self.latches.open(index(vector), FIRST, |_| Ok::<_, Infallible>(Signal::Sent));
        opened.unwrap().unwrap()
    }

    fn pending(&self) -> u64 {
        self.latches.pending(0)
    }
}

fn index(vector: u16) -> VectorIndex {
    VectorIndex::new(vector).unwrap()
}

/// A signal that finds its hint set may have seen it before an opening cleared it.
///
/// Kills: close-without-release, signal-without-acquire, hint-never-set, hint-before-latch, hint-cleared-by-close.
#[test]
fn c3_a_signal_is_pending_after_an_unmask_and_a_mask() {
    loom::model(|| {
        let function = Function::new();
        assert_eq!(function.signal(0), Signal::Latched);
        let trigger = function.spawn_trigger(0);

        assert_eq!(function.open(0), Opened::Delivered);
        function.latches.close(index(0));

        let signal = trigger.join().unwrap();
        assert_eq!(function.pending(), u64::from(signal == Signal::Latched), "{signal:?}");
    });
}

/// Whoever has signalled sees the Pending Bit, although another latched and has not set the hint yet.
///
/// Kills: hint-by-the-first-only, hint-never-set.
#[test]
fn c3_a_collapsed_signal_is_pending_when_its_trigger_returns() {
    loom::model(|| {
        let function = Function::new();
        let trigger = function.spawn_trigger(0);

        let signal = function.signal(0);
        assert_eq!(function.pending(), 1, "{signal:?}");

        trigger.join().unwrap();
        assert_eq!(function.pending(), 1);
    });
}

/// A Pending Bit that has cleared was delivered: nothing collapses into it any more.
///
/// Kills: hint-cleared-before-opening.
#[test]
fn c3_a_pending_bit_clears_when_its_signal_is_taken() {
    loom::model(|| {
        let function = Function::new();
        assert_eq!(function.signal(0), Signal::Latched);
        let reader = {
            let function = Arc::clone(&function);
            thread::spawn(move || (function.pending() == 0).then(|| function.signal(0)))
        };

        assert_eq!(function.open(0), Opened::Delivered);

        let signal = reader.join().unwrap();
        assert_ne!(signal, Some(Signal::Collapsed));
    });
}

/// What could not be delivered is pending still. What was, leaves no hint.
///
/// Kills: hint-cleared-by-failure, hint-never-cleared.
#[test]
fn c3_c11_a_failed_delivery_is_pending_against_a_trigger() {
    loom::model(|| {
        let function = Function::new();
        assert_eq!(function.signal(0), Signal::Latched);
        let trigger = function.spawn_trigger(0);

        let failed = function.latches.open(index(0), FIRST, |_| Err("no"));
        assert_eq!(failed, Some(Err("no")));
        assert_eq!(function.pending(), 1);

        trigger.join().unwrap();
        let delivered = function.latches.open(index(0), SECOND, |_| Ok::<_, ()>(Signal::Sent));
        assert_eq!(delivered, Some(Ok(Opened::Delivered)));
        assert_eq!(function.latches.hints(0), 0);
    });
}

/// A signal that was taken back has left its hint, and is not pending.
///
/// Kills: pending-is-the-hint, retract-nothing.
#[test]
fn c6_a_retracted_signal_is_not_pending() {
    loom::model(|| {
        let function = Function::new();
        let trigger = function.spawn_trigger(0);

        let early = function.latches.clear(index(0));

        trigger.join().unwrap();
        assert_eq!(function.pending(), u64::from(!early));
        assert_eq!(function.latches.clear(index(0)), !early);
        assert_eq!(function.pending(), 0);
    });
}

/// Two vectors latch at once.
///
/// Kills: hint-set-by-store.
#[test]
fn c3_a_signal_keeps_the_hint_of_its_neighbour() {
    loom::model(|| {
        let function = Function::new();
        let trigger = function.spawn_trigger(1);

        function.signal(0);

        trigger.join().unwrap();
        assert_eq!(function.pending(), 0b11);
    });
}

/// One vector latches while another opens.
///
/// Kills: hint-cleared-by-store.
#[test]
fn c3_an_opening_keeps_the_hint_of_its_neighbour() {
    loom::model(|| {
        let function = Function::new();
        function.signal(0);
        let trigger = function.spawn_trigger(1);

        function.open(0);

        trigger.join().unwrap();
        assert_eq!(function.pending(), 0b10);
    });
}
