//! What is kept: a latched signal, and with it what its device wrote.

use std::sync::Arc;

use loom::thread::{self, JoinHandle};
use vm_msix::atomic::{AtomicU32, Ordering::Relaxed};
use vm_msix::latch::Opened;
use vm_msix::{Relax, Signal, Spin};

use crate::bench::{Bench, FIRST, SECOND, count};

/// Memory that a device writes before it signals: a used ring. Relaxed, so that only the latch orders it.
struct Device {
    written: AtomicU32,
}

impl Device {
    fn new() -> Arc<Self> {
        Arc::new(Self { written: AtomicU32::new(0) })
    }

    /// What a guest's handler sees.
    fn is_seen(&self) -> bool {
        self.written.load(Relaxed) == 1
    }

    /// Writes, then signals.
    fn signal<R: Relax + 'static>(&self, bench: &Bench<R>) -> Signal {
        self.written.store(1, Relaxed);
        bench.signal()
    }

    /// The same on a thread of its own.
    fn spawn<R: Relax + 'static>(self: &Arc<Self>, bench: &Arc<Bench<R>>) -> JoinHandle<Signal> {
        let (device, bench) = (Arc::clone(self), Arc::clone(bench));
        thread::spawn(move || device.signal(&bench))
    }
}

/// An interrupt for which the guest finds no cause is a lost one, because no other follows. That holds for the signal that
/// was latched and for the one that collapsed into it.
///
/// Kills: signal-without-release, open-without-acquire, collapse-by-load.
#[test]
fn c3_who_delivers_sees_what_the_devices_wrote() {
    loom::model(|| {
        let bench = Bench::new(Spin);
        let devices = [Device::new(), Device::new()];
        let triggers = devices.each_ref().map(|device| device.spawn(&bench));

        let mut seen = [false; 2];
        let Ok::<_, ()>(_) = bench.latch.open(FIRST, &bench.relax, |_| {
            seen = devices.each_ref().map(|device| device.is_seen());
            Ok(Signal::Sent)
        }) else {
            unreachable!()
        };

        let signals = triggers.map(|trigger| trigger.join().unwrap());
        for (signal, seen) in signals.iter().zip(seen) {
            assert!(*signal == Signal::Sent || seen, "{signals:?}, but not what it was about");
        }
    });
}

/// Who polls the Pending Bit instead of waiting for the interrupt sees the same.
///
/// Kills: signal-without-release, pending-without-acquire.
#[test]
fn c3_who_sees_the_pending_bit_sees_what_the_device_wrote() {
    loom::model(|| {
        let bench = Bench::new(Spin);
        let device = Device::new();
        let reader = {
            let (device, bench) = (Arc::clone(&device), Arc::clone(&bench));
            thread::spawn(move || !bench.latch.is_latched() || device.is_seen())
        };

        assert_eq!(device.signal(&bench), Signal::Latched);

        assert!(reader.join().unwrap(), "pending, but not what it is about");
    });
}

/// When the send of a latched signal fails, nobody but the latch knows of it, so it must not forget: neither
/// that signal nor one that comes meanwhile, nor what its device wrote.
///
/// Kills: failed-delivery-forgotten, failed-delivery-stored, failed-delivery-leaves-open.
#[test]
fn c3_c11_a_failed_delivery_keeps_the_signal_against_a_trigger() {
    loom::model(|| {
        let bench = Bench::new(Spin);
        assert_eq!(bench.signal(), Signal::Latched);
        let device = Device::new();
        let trigger = device.spawn(&bench);

        bench.wire.opening(FIRST);
        let first = bench.latch.open(FIRST, &bench.relax, |_| Err("no"));
        assert_eq!(first, Err("no"));
        bench.wire.closed();
        assert!(bench.latch.is_latched());

        let mut seen = false;
        bench.wire.opening(SECOND);
        let second = bench.latch.open(SECOND, &bench.relax, |message| {
            seen = device.is_seen();
            bench.wire.send(message);
            Ok::<_, ()>(Signal::Sent)
        });
        assert_eq!(second, Ok(Opened::Delivered));

        let signal = trigger.join().unwrap();
        assert!(signal == Signal::Sent || seen, "{signal:?}, but not what it was about");
        let sent = usize::from(signal == Signal::Sent);
        assert_eq!(bench.wire.sent_in_order(), sent + 1);
        assert!(!bench.latch.is_latched());
    });
}

/// A signal whose cause is gone is taken back, or it was delivered already: one of the two.
///
/// Kills: retract-nothing, retract-in-two-steps, retract-by-the-look, open-takes-latched-later.
#[test]
fn c3_c6_a_signal_is_delivered_or_retracted() {
    loom::model(|| {
        let bench = Bench::new(Spin);
        let trigger = bench.spawn_trigger();
        let retract = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || bench.latch.clear())
        };

        let opened = bench.open(FIRST);

        let signal = trigger.join().unwrap();
        let retracted = retract.join().unwrap();
        let delivered = opened == Opened::Delivered;
        let ends = [signal == Signal::Sent, delivered, retracted];
        assert_eq!(count(&ends, &true), 1, "{signal:?}, {opened:?}, retracted: {retracted}");
        assert_eq!(bench.wire.sent_in_order(), usize::from(!retracted));
        assert!(!bench.latch.is_latched());
    });
}
