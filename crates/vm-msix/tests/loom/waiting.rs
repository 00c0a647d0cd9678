//! How a close waits: for every send, and never for ever (C4).

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use loom::thread;
use vm_msix::latch::Latch;
use vm_msix::{Relax, Signal, Spin};

use crate::bench::{Bench, FIRST, Futex, SECOND};

/// The send is over when the close returns, whichever step of the close saw the count at zero: its first, or that of
/// the wait.
///
/// Kills: close-without-acquire, wait-without-acquire, landing-without-release.
#[test]
fn c4_a_send_is_over_when_the_close_returns() {
    loom::model(|| close_against_a_trigger(Spin));
}

/// The same for a close that looks a few times before it parks.
///
/// Kills: spin-without-acquire, landing-without-release.
#[test]
fn c4_a_send_is_over_when_a_spinning_close_returns() {
    loom::model(|| close_against_a_trigger(Futex::new(2)));
}

/// The last of two to come down wakes the close. loom fails a model in which nobody can go on.
///
/// Kills: waiter-not-set, waiter-set-after-the-look, nobody-woken, woken-by-the-last-but-one,
/// wait-leaves-one.
#[test]
fn c4_a_parked_close_is_woken() {
    loom::model(|| {
        let bench = Bench::open_to_first(Futex::new(0));
        let triggers = [bench.spawn_trigger(), bench.spawn_trigger()];

        bench.close();

        for trigger in triggers {
            trigger.join().unwrap();
        }
        bench.wire.sent_in_order();
        assert!(bench.relax.wakes() <= 1, "one close was woken {} times", bench.relax.wakes());
    });
}

/// Whoever comes down after that wakes nobody: waking is a system call.
///
/// Kills: woken-without-waiting, open-keeps-waiter.
#[test]
fn c4_nobody_is_woken_who_does_not_wait() {
    loom::model(|| {
        let bench = Bench::open_to_first(Futex::new(0));
        let trigger = bench.spawn_trigger();
        bench.close();
        trigger.join().unwrap();
        let wakes = bench.relax.wakes();

        bench.open(SECOND);
        bench.signal();
        bench.close();
        assert_eq!(bench.relax.wakes(), wakes);
    });
}

/// A send that fails is told to its caller and leaves nothing behind.
///
/// Kills: close-does-not-wait, nobody-woken.
#[test]
fn c3_c4_a_close_waits_for_a_send_that_fails() {
    loom::model(|| {
        let bench = Bench::open_to_first(Futex::new(0));
        let trigger = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || {
                bench.latch.signal(&bench.relax, |message| {
                    bench.wire.send(message);
                    Err("no")
                })
            })
        };

        bench.close();

        let signal = trigger.join().unwrap();
        assert!(matches!(signal, Err("no") | Ok(Signal::Latched)));
        assert_eq!(bench.latch.is_latched(), signal.is_ok());
        bench.wire.sent_in_order();
    });
}

/// A send that panics is over, too, and the close does not wait for ever.
///
/// Kills: landing-without-unwinding.
#[test]
fn c4_a_close_waits_for_a_send_that_panics() {
    loom::model(|| {
        let bench = Bench::open_to_first(Futex::new(0));
        let trigger = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || {
                let panicking = || panicking_signal(&bench.latch, &bench.relax);
                catch_unwind(AssertUnwindSafe(panicking)).is_err()
            })
        };

        bench.close();

        let panicked = trigger.join().unwrap();
        assert_eq!(bench.latch.is_latched(), !panicked);
    });
}

/// Without the message that a panic prints at every execution.
fn panicking_signal(latch: &Latch, relax: &impl Relax) -> Signal {
    let signal: Result<_, Infallible> = latch.signal(relax, |_| resume_unwind(Box::new("send")));
    signal.unwrap()
}

fn close_against_a_trigger<R: Relax + 'static>(relax: R) {
    let bench = Bench::new(relax);
    bench.open(FIRST);
    let trigger = bench.spawn_trigger();
    bench.close();
    trigger.join().unwrap();
    bench.wire.sent_in_order();
}
