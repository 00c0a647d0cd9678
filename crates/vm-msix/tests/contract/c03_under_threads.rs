//! C3 with producers that run at the same time as the guest: nothing is lost and nothing is invented.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use crate::support::guest::{bring_up, function, mask, message, pba, program, unmask};
use crate::support::host::Wire;
use vm_msix::{Counters, MsiMessage, Signal};

/// Signals of each producer.
const SIGNALS: usize = 1000;

#[test]
fn c03_every_signal_is_sent_latched_or_collapsed_and_the_sums_agree() {
    let wire = Arc::<Wire>::default();
    let counters = Arc::<Counters>::default();
    let mut msix = function(2, wire.signal_mode()).with_observer(Arc::clone(&counters));
    bring_up(&mut msix);
    let triggers = [0, 0, 1, 1].map(|vector| msix.trigger_handle(vector).unwrap());

    let outcomes: Vec<(u16, Signal)> = thread::scope(|scope| {
        let producers = triggers.map(|trigger| {
            scope.spawn(move || {
                let vector = trigger.vector().get();
                (0..SIGNALS).map(|_| (vector, trigger.trigger().unwrap())).collect::<Vec<_>>()
            })
        });
        while producers.iter().any(|producer| !producer.is_finished()) {
            for vector in 0..2 {
                mask(&mut msix, vector);
                program(&mut msix, vector, message(vector));
                pba(&msix);
                unmask(&mut msix, vector);
            }
        }
        producers.into_iter().flat_map(|producer| producer.join().unwrap()).collect()
    });

    let mut tally: HashMap<(u16, Signal), usize> = HashMap::new();
    outcomes.into_iter().for_each(|outcome| *tally.entry(outcome).or_default() += 1);
    let of = |vector, signal| tally.get(&(vector, signal)).copied().unwrap_or(0);
    let sent = wire.take_sent();
    for vector in 0..2 {
        let messages = sent.iter().filter(|&&(of, _)| of == vector).count();
        // Every latched signal was delivered when its vector opened, for all are open now.
        assert_eq!(messages, of(vector, Signal::Sent) + of(vector, Signal::Latched));
        let collapsed = of(vector, Signal::Collapsed);
        assert_eq!(messages + collapsed, 2 * SIGNALS);
    }
    assert_eq!(pba(&msix), [0]);
    let counts = counters.counts();
    assert_eq!(counts.latched, counts.delivered);
    assert_eq!(counts.sent + counts.latched + counts.collapsed, 4 * SIGNALS as u64);
}

#[test]
fn c03_what_was_signalled_while_masked_is_sent_once_however_many_signalled() {
    let wire = Arc::<Wire>::default();
    let mut msix = function(1, wire.signal_mode());
    bring_up(&mut msix);
    for round in 0..100 {
        let moved = MsiMessage::new(0xfee0_0000, round);
        mask(&mut msix, 0);
        program(&mut msix, 0, moved);
        let outcomes: Vec<Signal> = thread::scope(|scope| {
            let producers = [(); 4].map(|()| {
                let trigger = msix.trigger_handle(0).unwrap();
                scope.spawn(move || trigger.trigger().unwrap())
            });
            producers.into_iter().map(|producer| producer.join().unwrap()).collect()
        });
        let latched = outcomes.iter().filter(|&&outcome| outcome == Signal::Latched).count();
        assert_eq!(latched, 1, "{outcomes:?}");
        assert_eq!(pba(&msix), [1]);
        unmask(&mut msix, 0);
        assert_eq!(wire.take_sent(), [(0, moved)]);
    }
}

#[test]
fn c03_a_retracted_signal_is_either_delivered_or_taken_back() {
    let wire = Arc::<Wire>::default();
    let counters = Arc::<Counters>::default();
    let mut msix = function(1, wire.signal_mode()).with_observer(Arc::clone(&counters));
    bring_up(&mut msix);
    let trigger = msix.trigger_handle(0).unwrap();
    thread::scope(|scope| {
        let producer = scope.spawn(move || {
            for _ in 0..SIGNALS {
                trigger.trigger().unwrap();
            }
        });
        while !producer.is_finished() {
            mask(&mut msix, 0);
            msix.retract(0).unwrap();
            unmask(&mut msix, 0);
        }
    });
    let counts = counters.counts();
    assert_eq!(counts.latched, counts.delivered + counts.retracted);
    assert_eq!(wire.take_sent().len() as u64, counts.sent + counts.delivered);
    assert_eq!(pba(&msix), [0]);
}
