//! Nobody reaches another's interrupts, whatever it asks.

use std::os::fd::AsFd;

use vm_msix_tube::SessionEnd;

use super::site::{Site, VECTORS};
use super::support::alone;
use super::support::wire::{Ask, closes, opens};

#[test]
fn every_request_about_every_vector_changes_nothing_for_the_other_session() {
    let _alone = alone();
    let mut site = Site::new();
    let mut hostile = site.greeted();
    let eventfd = super::support::fds::new();
    for vector in 0..VECTORS {
        let asks = [
            (Ask::SetRoutes(vec![closes(vector)]), 0),
            (Ask::SetRoutes(vec![opens(vector, false)]), 0),
            (Ask::SetRoutes(vec![opens(vector, true)]), 1),
            (Ask::Swap(vector, VECTORS - 1 - vector), 0),
        ];
        for (ask, descriptors) in asks {
            let descriptors = &[eventfd.as_fd()][..descriptors];
            assert!(hostile.raw.ask(ask, descriptors).is_some());
            super::support::fds::signal(&eventfd);
            site.check();
        }
    }
    // It signalled for itself, and was delivered to itself.
    hostile.vmm.commit();
    assert!(!hostile.vmm.deliver().is_empty());
    assert!(hostile.raw.ask(Ask::Release, &[]).is_some());
    site.check();
    hostile.raw.finish();
    hostile.expect(SessionEnd::Disconnected);
    drop(eventfd);
    site.expect_alone();
}
