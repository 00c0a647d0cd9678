//! C11, C14: a restore whose state is good, of which KVM does not take every route.

use std::sync::Arc;

use vm_msix::{MsixError, Signal};
use vm_msix_kvm::{Committer, RouteTable};

use super::restoring::{open_state, with_pending};
use crate::support::deferred::message;
use crate::support::fixture::{Fixture, function};
use crate::support::producer::Producer;
use crate::support::tables::Failing;
use crate::support::{guest, index, unsynced};

/// A route that KVM does not take is the business of its vector alone. `at_once` is what the restore has delivered
/// by then of vectors 1 and 2, of which 2 fails.
fn expect_one_to_fail(committer: fn(Arc<dyn RouteTable>) -> Arc<Committer>, at_once: &[u8]) {
    for errno in [libc::EINVAL, libc::ENOMEM] {
        let Some(fixture) = Fixture::new() else { return };
        let table = Arc::new(Failing::new(fixture.router.clone()));
        let committer = committer(table.clone());
        let mut msix = function(4, fixture.delivery_by(committer));
        let guards: Vec<_> = (0..4).map(|vector| msix.get_irqfd(vector).unwrap()).collect();
        table.fail(message(2).data, errno);
        msix.restore(&with_pending(open_state(4), [1, 2])).unwrap();
        let error = msix.flush().unwrap_err();
        assert!(matches!(error, MsixError::Unsynced { vectors: 1, first } if first == index(2)));
        assert_eq!(unsynced(&msix), [2]);
        assert_eq!(fixture.apic().requested(), at_once);
        fixture.apic().clear();
        // The new registers stand, and the Pending Bit of what was not delivered.
        let waiting = (!at_once.contains(&0x42)).then_some(2);
        assert_eq!(msix.snapshot(), with_pending(open_state(4), waiting));
        let expected = if waiting.is_some() { Signal::Collapsed } else { Signal::Latched };
        assert_eq!(msix.trigger(2).unwrap(), expected);
        Producer::of(&guards[3]).signal();
        fixture.apic().expect(0x43);

        table.relent();
        // A refused message is tried again when its vector wants another, a failure at a flush.
        if errno == libc::EINVAL {
            msix.flush().unwrap_err();
            guest(&mut msix).mask(2);
            guest(&mut msix).unmask(2);
        }
        msix.flush().unwrap();
        assert_eq!(unsynced(&msix), [] as [u16; 0]);
        fixture.apic().expect(0x42);
        assert_eq!(msix.snapshot(), open_state(4));
    }
}

#[test]
fn c11_a_vector_that_fails_in_a_restore_is_named_and_keeps_its_signal() {
    expect_one_to_fail(Committer::immediate, &[0x41]);
}

/// A latch does not wait for the commit, so what was in it is out; what comes after the failure is kept.
#[test]
fn c11_a_vector_that_fails_in_the_commit_of_a_restore_is_named_and_keeps_what_comes() {
    expect_one_to_fail(|table| Committer::polled(table).unwrap(), &[0x41, 0x42]);
    expect_one_to_fail(|table| Committer::spawn(table).unwrap(), &[0x41, 0x42]);
}
