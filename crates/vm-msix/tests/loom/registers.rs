//! The same through the registers of a function: a guest writes them, a device holds a trigger.

use std::convert::Infallible;
use std::sync::Arc;

use loom::thread;
use vm_msix::{Counters, Counts, MsiMessage, MsixConfig, Signal, SignalMode, VectorIndex};
use vm_msix::{MsiBackend, MsixObserver, Trigger};

use crate::bench::{FIRST, SECOND, Wire};

const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;
const MASK_BIT: u32 = 1;

/// A guest's view of one vector.
struct Guest<B: MsiBackend> {
    msix: MsixConfig<B, Arc<Counters>>,
    wire: Arc<Wire>,
}

impl<B: MsiBackend> Guest<B> {
    fn write_message(&mut self, message: MsiMessage) {
        self.msix.write_msix_table(0, &message.address.to_le_bytes());
        self.msix.write_msix_table(8, &message.data.to_le_bytes());
    }

    fn write_vector_control(&mut self, value: u32) {
        self.msix.write_msix_table(12, &value.to_le_bytes());
    }

    fn write_message_control(&mut self, value: u16) {
        self.msix.write_msix_capability(2, &value.to_le_bytes());
    }

    fn is_pending(&self) -> bool {
        let mut qword = [0; 8];
        self.msix.read_pba_entries(0, &mut qword);
        u64::from_le_bytes(qword) == 1
    }

    fn counts(&self) -> Counts {
        self.msix.observer().counts()
    }
}

/// One vector, enabled and open to the first message.
fn bring_up() -> Guest<impl MsiBackend> {
    let wire = Arc::new(Wire::new());
    let sender = SignalMode::new({
        let wire = Arc::clone(&wire);
        move |_: VectorIndex, message| {
            wire.send(message);
            Ok::<_, Infallible>(())
        }
    });
    let msix = MsixConfig::new(1, sender, 0, "model").unwrap().with_observer(Arc::default());
    let mut guest = Guest { msix, wire };
    guest.write_message(FIRST);
    guest.write_vector_control(0);
    guest.wire.opening(FIRST);
    guest.write_message_control(ENABLE);
    guest
}

fn spawn_trigger<B: MsiBackend + 'static, O: MsixObserver + 'static>(
    trigger: Trigger<B, O>,
) -> thread::JoinHandle<Signal> {
    thread::spawn(move || trigger.trigger().unwrap())
}

/// A change of affinity, as Linux makes it, against a device.
///
/// Kills: close-does-not-wait, signal-without-acquire.
#[test]
fn c1_c3_c4_c5_a_trigger_against_mask_rewrite_unmask() {
    loom::model(|| {
        let mut guest = bring_up();
        let trigger = spawn_trigger(guest.msix.trigger_handle(0).unwrap());

        guest.write_vector_control(MASK_BIT);
        guest.wire.closed();
        guest.write_message(SECOND);
        let pending = guest.is_pending();
        guest.wire.opening(SECOND);
        guest.write_vector_control(0);

        let signal = trigger.join().unwrap();
        assert!(signal == Signal::Latched || !pending);
        assert_eq!(guest.wire.sent_in_order(), 1);
        assert_eq!(guest.counts().delivered, u64::from(signal == Signal::Latched));
        assert!(!guest.is_pending());
    });
}

/// Function Mask and its end, then Enable = 0, against a device that signals twice.
///
/// Kills: open-sends-nothing, landing-before-send.
#[test]
fn c1_c3_c6_two_signals_against_function_mask_and_disable() {
    loom::model(|| {
        let mut guest = bring_up();
        let trigger = guest.msix.trigger_handle(0).unwrap();
        let device =
            thread::spawn(move || [trigger.trigger().unwrap(), trigger.trigger().unwrap()]);

        guest.write_message_control(ENABLE | FUNCTION_MASK);
        guest.wire.closed();
        guest.wire.opening(FIRST);
        guest.write_message_control(ENABLE);
        guest.write_message_control(0);
        guest.wire.closed();

        device.join().unwrap();
        let sent = u64::try_from(guest.wire.sent_in_order()).unwrap();
        let counts = guest.counts();
        assert_eq!(counts.sent + counts.latched + counts.collapsed, 2);
        assert_eq!(counts.sent + counts.delivered, sent);
        assert_eq!(counts.latched, counts.delivered + u64::from(guest.is_pending()));
    });
}

/// A reset against a device that goes on: nothing is sent after it, and every signal has one end.
///
/// Kills: close-leaves-open, retract-nothing.
#[test]
fn c3_c7_a_trigger_against_a_reset() {
    loom::model(|| {
        let mut guest = bring_up();
        let trigger = spawn_trigger(guest.msix.trigger_handle(0).unwrap());

        guest.msix.reset();
        guest.wire.closed();

        let signal = trigger.join().unwrap();
        let counts = guest.counts();
        assert_eq!(guest.wire.sent_in_order(), usize::from(signal == Signal::Sent));
        assert_eq!(counts.latched, counts.retracted + u64::from(guest.is_pending()));
    });
}
