//! Looks at Pending Bits, from threads that know nothing of who holds a descriptor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use vm_msix::MsixConfig;
use vm_msix_tube::TubeBackend;

use super::model::Model;
use super::support::vmm::Faults;
use super::support::{alone, fds};

/// Often enough to fall between any two steps of a holder that goes.
const ROUNDS: usize = 3000;

#[test]
fn c13_a_pending_bit_stays_set_while_the_descriptor_that_keeps_it_goes() {
    let _alone = alone();
    let Model { msix, .. } = &Model::new(1, Faults::default(), 0);
    for round in 0..ROUNDS {
        let guard = msix.get_irqfd(0).unwrap();
        fds::signal(&guard);
        thread::scope(|scope| {
            let holder = scope.spawn(move || drop(guard));
            while !holder.is_finished() {
                assert!(is_pending(msix), "not pending for a moment, in round {round}");
                thread::yield_now();
            }
        });
        assert!(msix.retract(0).unwrap());
    }
}

#[test]
fn c6_a_signal_is_retracted_while_the_descriptor_that_keeps_it_goes() {
    let _alone = alone();
    let Model { msix, .. } = &Model::new(1, Faults::default(), 0);
    for round in 0..ROUNDS {
        let guard = msix.get_irqfd(0).unwrap();
        fds::signal(&guard);
        let goes = &AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(move || {
                goes.store(true, Ordering::Relaxed);
                drop(guard);
            });
            while !goes.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            assert!(msix.retract(0).unwrap(), "nothing to retract, in round {round}");
        });
        assert!(!is_pending(msix), "pending after a retract, in round {round}");
    }
}

fn is_pending(msix: &MsixConfig<TubeBackend>) -> bool {
    let mut pending = [0; 8];
    msix.read_pba_entries(0, &mut pending);
    u64::from_le_bytes(pending) & 1 != 0
}
