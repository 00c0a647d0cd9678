//! The rest of the surface over a tube: saved and restored, destroyed, and its socket (C7, C14).

use std::os::fd::AsRawFd;

use vm_msix::{MsixConfig, Signal};

use crate::host::{Host, guest};
use crate::support::producer::Producer;
use crate::support::to_apic;

const VECTORS: u16 = 2048;

fn message(vector: u16) -> vm_msix::MsiMessage {
    to_apic(0, 0x40 + (vector % 64) as u8)
}

#[test]
fn the_socket_is_the_tubes() {
    let Some(host) = Host::new() else { return };
    let (tube, _ended) = host.serve(1);
    let socket = tube.as_raw_fd();
    let msix = MsixConfig::new(1, tube, 0, "remote").unwrap();
    assert_eq!(msix.get_msi_socket(), socket);
    assert_eq!(msix.as_raw_fd(), socket);
}

#[test]
fn c14_a_restore_is_one_commit_and_delivers_what_was_pending_once() {
    let Some(host) = Host::new() else { return };
    let mut source = host.function(VECTORS);
    guest(&mut source).bring_up(&(0..VECTORS).map(message).collect::<Vec<_>>());
    let guard = source.get_irqfd(5).unwrap();
    guest(&mut source).mask(5);
    guest(&mut source).mask(7);
    source.pause();
    // In the counter, in the latch, and in both.
    Producer::of(&guard).signal();
    assert_eq!(source.trigger(6).unwrap(), Signal::Latched);
    assert_eq!(source.trigger(7).unwrap(), Signal::Latched);
    let state = source.snapshot();
    let pending = |vector: &usize| state.vectors[*vector].pending;
    assert_eq!((0..usize::from(VECTORS)).filter(pending).collect::<Vec<_>>(), [5, 6, 7]);
    drop(guard);
    source.destroy();
    // What a commit may name comes back with its end.
    host.committer.flush();
    assert_eq!(host.router.gsis_in_use(), 0);
    host.fixture.apic().expect_nothing();

    let mut target = host.function(VECTORS);
    let before = host.counters.counts();
    target.restore(&state).unwrap();
    target.flush().unwrap();
    let counts = host.counters.counts();
    assert_eq!(counts.set_gsi_routing - before.set_gsi_routing, 1);
    assert_eq!(counts.irqfd_assign - before.irqfd_assign, u64::from(VECTORS) - 2);
    host.fixture.apic().expect(0x46);
    for vector in [5, 7] {
        assert!(guest(&mut target).is_pending(vector));
        guest(&mut target).unmask(vector);
        host.fixture.apic().expect(0x40 + vector as u8);
        target.flush().unwrap();
        guest(&mut target).mask(vector);
        assert!(!guest(&mut target).is_pending(vector));
        host.fixture.apic().expect_nothing();
    }
}

#[test]
fn c14_a_refused_restore_changes_nothing_and_asks_nothing() {
    let Some(host) = Host::new() else { return };
    let mut msix = host.function(2);
    guest(&mut msix).bring_up(&[message(0), message(1)]);
    msix.flush().unwrap();
    let mut state = msix.snapshot();
    state.vectors[1].address |= 1;
    let requests = msix.backend().traffic().requests;
    msix.restore(&state).unwrap_err();
    assert_eq!(msix.backend().traffic().requests, requests);
    msix.trigger(1).unwrap();
    host.fixture.apic().expect(0x41);
}
