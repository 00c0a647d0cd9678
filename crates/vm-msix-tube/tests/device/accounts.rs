//! What an observer has counted when all is at rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use vm_msix::test_utils::GuestDriver;
use vm_msix::{Counters, MsixConfig};
use vm_msix_tube::{Quota, Server, Tube};

use super::support::vmm::{Delivery, Faults, Vmm};
use super::support::{alone, fds, message, until};

/// An open vector that changes eventfds is closed for a moment: what is latched then is delivered, and the observer is told.
#[test]
fn c3_what_is_latched_while_a_vector_changes_eventfds_is_accounted_for() {
    let _alone = alone();
    let vmm = Vmm::failing(2, Faults::default(), 0);
    let server = Server::spawn().unwrap();
    let (here, there) = Tube::pair().unwrap();
    server.serve(here, Delivery(Arc::clone(&vmm)), Quota { vectors: 2 }, |_| {}).unwrap();
    let mut msix =
        MsixConfig::new(2, there, 0, "accounts").unwrap().with_observer(Counters::default());
    GuestDriver::new(&mut msix).bring_up(&[message(0, 1), message(1, 1)]);

    let (trigger, over) = (msix.trigger_handle(0).unwrap(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                trigger.trigger().unwrap();
            }
        });
        until("signals come in between", || {
            vmm.commit();
            msix.swap_irqfds(0, 1).unwrap();
            drop(msix.adopt_irqfd(0, fds::new()).unwrap());
            msix.observer().counts().latched >= 20
        });
        over.store(true, Ordering::Relaxed);
    });
    // The next register access hears of it.
    GuestDriver::new(&mut msix).mask(1);
    let counts = msix.observer().counts();
    assert!(counts.latched <= counts.delivered, "{counts:?}");
}
