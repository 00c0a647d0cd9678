//! What is sent: the right message, as often as it was signalled, never while closed.

use std::sync::Arc;

use loom::thread;
use vm_msix::Signal;
use vm_msix::Spin;
use vm_msix::latch::Opened;

use crate::bench::{Bench, FIRST, SECOND, count};

/// A guest changes a vector's message as it must: it masks, rewrites, unmasks.
///
/// Kills: signal-without-acquire, open-without-release, open-before-message, message-before-departure,
/// latch-nothing, latch-in-a-later-step, open-looks-first, open-keeps-latched, open-sends-nothing.
#[test]
fn c3_c4_c5_two_triggers_against_mask_rewrite_unmask() {
    loom::model(|| {
        let bench = Bench::open_to_first(Spin);
        let triggers = [bench.spawn_trigger(), bench.spawn_trigger()];

        bench.close();
        let opened = bench.open(SECOND);

        let signals = triggers.map(|trigger| trigger.join().unwrap());
        assert_none_lost(&bench, opened, &signals);
    });
}

/// A guest that does not mask gets the old message or the new one all the same.
///
/// Kills: message-before-close.
#[test]
fn c3_c5_two_triggers_against_a_rewrite_without_a_mask() {
    loom::model(|| {
        let bench = Bench::open_to_first(Spin);
        let triggers = [bench.spawn_trigger(), bench.spawn_trigger()];

        let opened = bench.open(SECOND);

        let signals = triggers.map(|trigger| trigger.join().unwrap());
        assert_none_lost(&bench, opened, &signals);
    });
}

/// Two mask cycles, and somebody who polls the Pending Bit: the signal comes once.
///
/// Kills: open-keeps-latched, open-looks-first.
#[test]
fn c3_two_mask_cycles_against_a_trigger_and_a_pba_reader() {
    loom::model(|| {
        let bench = Bench::new(Spin);
        let trigger = bench.spawn_trigger();
        let reader = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || bench.latch.is_latched())
        };

        let first = bench.open(FIRST);
        bench.close();
        let second = bench.open(SECOND);

        let signal = trigger.join().unwrap();
        let pending = reader.join().unwrap();
        let delivered = count(&[first, second], &Opened::Delivered);
        assert_eq!(delivered, usize::from(signal == Signal::Latched));
        assert!(signal == Signal::Latched || !pending, "pending, and yet {signal:?}");
        assert_eq!(bench.wire.sent_in_order(), 1);
        assert!(!bench.latch.is_latched());
    });
}

/// Nothing is sent after a close that nothing follows; what comes then stays pending.
///
/// Kills: close-leaves-open, close-does-not-wait, departure-in-a-later-step, landing-before-send.
#[test]
fn c3_c4_two_triggers_against_a_mask() {
    loom::model(|| {
        let bench = Bench::open_to_first(Spin);
        let triggers = [bench.spawn_trigger(), bench.spawn_trigger()];

        bench.close();

        let signals = triggers.map(|trigger| trigger.join().unwrap());
        let sent = bench.wire.sent_in_order();
        assert_eq!(sent, count(&signals, &Signal::Sent));
        assert_eq!(count(&signals, &Signal::Latched), usize::from(sent < 2));
        assert_eq!(bench.latch.is_latched(), sent < 2);
    });
}

/// After two signals across one opening: each was sent, or latched and delivered, or is one with that.
fn assert_none_lost(bench: &Bench<Spin>, opened: Opened, signals: &[Signal; 2]) {
    let latched = count(signals, &Signal::Latched);
    let collapsed = count(signals, &Signal::Collapsed);
    assert_eq!(latched, usize::from(opened == Opened::Delivered), "{signals:?}, {opened:?}");
    assert!(collapsed <= latched, "collapsed into nothing: {signals:?}");
    assert_eq!(bench.wire.sent_in_order(), 2 - collapsed);
    assert!(!bench.latch.is_latched(), "left behind: {signals:?}, {opened:?}");
}
