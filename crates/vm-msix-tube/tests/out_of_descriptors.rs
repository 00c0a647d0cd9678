//! C11: a process that can have no more descriptors, or pass none on. What wants one fails, nothing else does, and it works
//! again when there are some.
//!
//! A program of its own, because the limits are the process's.

#[allow(dead_code, reason = "the hostile use more of it")]
#[path = "hostile/site.rs"]
mod site;
mod support;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use vm_msix::test_utils::GuestDriver;
use vm_msix::{MsixConfig, Signal};
use vm_msix_tube::{Quota, Server, SessionEnd, Tube, TubeBackend};

use site::{Site, VECTORS};
use support::raw::Raw;
use support::vmm::{Delivery, Faults, Vmm};
use support::wire::{Answer, Ask, hello, opens};
use support::{alone, fds, message};

#[test]
fn c11_a_vmm_that_may_have_no_more_ends_the_session_that_brings_some_and_no_other() {
    let _alone = alone();
    let mut site = Site::new();
    for free in [0, 1] {
        let mut hostile = site.hostile();
        assert_eq!(hostile.raw.ask(hello(VECTORS), &[]), Some(Answer::Welcome));
        let eventfds = [fds::new(), fds::new()];
        let exhausted = fds::exhaust().but_for(free);
        let ask = Ask::SetRoutes(vec![opens(0, true), opens(1, true)]);
        hostile.raw.post(ask, &[eventfds[0].as_fd(), eventfds[1].as_fd()]).unwrap();
        hostile.expect(SessionEnd::OutOfDescriptors);
        site.check();
        drop((exhausted, eventfds));
        drop(site.greeted());
        site.expect_alone();
    }
}

/// A device process, of whose four vectors two are open, and its VMM.
fn half_open() -> (MsixConfig<TubeBackend>, Arc<Vmm>, Server) {
    let server = Server::spawn().unwrap();
    let vmm = Vmm::new(4);
    let (here, there) = Tube::pair().unwrap();
    server.serve(here, Delivery(Arc::clone(&vmm)), Quota { vectors: 4 }, |_| {}).unwrap();
    let mut msix = MsixConfig::new(4, there, 0, "device").unwrap();
    GuestDriver::new(&mut msix).bring_up(&[message(0, 1), message(1, 1)]);
    msix.flush().unwrap();
    (msix, vmm, server)
}

fn unsynced(msix: &MsixConfig<TubeBackend>) -> Vec<u16> {
    msix.unsynced().map(|vector| vector.get()).collect()
}

/// What is open delivers, masks and unmasks; what wants a descriptor latches, and is listed.
#[track_caller]
fn expect_half(msix: &mut MsixConfig<TubeBackend>, vmm: &Vmm) {
    for vector in [2, 3] {
        GuestDriver::new(&mut *msix).program(vector, message(vector, 1));
        GuestDriver::new(&mut *msix).unmask(vector);
        assert_eq!(msix.trigger(vector).unwrap(), Signal::Latched);
        assert!(GuestDriver::new(&mut *msix).is_pending(vector));
    }
    assert_eq!(unsynced(msix), [2, 3]);
    assert!(msix.flush().is_err());
    for vector in [0, 1] {
        assert_eq!(msix.trigger(vector).unwrap(), Signal::HandedOver);
        assert_eq!(vmm.deliver(), [(vector, message(vector, 1))]);
        GuestDriver::new(&mut *msix).mask(vector);
        assert_eq!(msix.trigger(vector).unwrap(), Signal::Latched);
        GuestDriver::new(&mut *msix).unmask(vector);
        assert!(msix.flush().is_err());
        assert_eq!(vmm.deliver(), [(vector, message(vector, 1))]);
    }
    assert_eq!(unsynced(msix), [2, 3]);
}

/// All is open, and what was latched is delivered, once.
#[track_caller]
fn expect_whole(msix: &mut MsixConfig<TubeBackend>, vmm: &Vmm) {
    msix.flush().unwrap();
    assert_eq!(unsynced(msix), [] as [u16; 0]);
    assert_eq!(vmm.deliver(), [(2, message(2, 1)), (3, message(3, 1))]);
    for vector in 0..4 {
        assert_eq!(msix.trigger(vector).unwrap(), Signal::HandedOver);
        assert_eq!(vmm.deliver(), [(vector, message(vector, 1))]);
    }
}

/// The system call that an error comes from, and what it said.
fn call_of(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[test]
fn c11_a_device_process_that_may_have_no_more_keeps_what_it_has_open() {
    let _alone = alone();
    let (mut msix, vmm, _server) = half_open();
    let exhausted = fds::exhaust();
    expect_half(&mut msix, &vmm);
    let error = call_of(&msix.get_irqfd(2).unwrap_err());
    assert!(error.contains("eventfd: Too many open files"), "{error}");
    drop(exhausted);
    expect_whole(&mut msix, &vmm);
}

/// Descriptors on their way, more than this process may have open: the kernel passes no others on for it.
fn in_flight() -> (Raw, OwnedFd) {
    let (here, there) = Tube::pair().unwrap();
    let (raw, eventfd) = (Raw::new(here.into_socket()), fds::new());
    raw.packet(&[0], &[eventfd.as_fd(); 200]).unwrap();
    (raw, there.into_socket())
}

/// Gives up, for this thread, what lets the mighty pass on as many as they like.
fn be_humble() {
    let mut sets = capabilities(None).unwrap();
    sets.effective -= CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_ADMIN;
    set_capabilities(None, sets).unwrap();
}

#[test]
fn c11_a_device_process_that_may_pass_none_on_keeps_what_it_has_open() {
    let _alone = alone();
    let (mut msix, vmm, _server) = half_open();
    be_humble();
    let on_their_way = in_flight();
    fds::set_limit(100);
    expect_half(&mut msix, &vmm);
    drop(on_their_way);
    expect_whole(&mut msix, &vmm);
}

#[test]
fn c3_an_open_vector_whose_new_eventfd_cannot_be_passed_on_goes_on_with_the_old_one() {
    let _alone = alone();
    let (mut msix, vmm, _server) = half_open();
    be_humble();
    let on_their_way = in_flight();
    fds::set_limit(100);
    let error = call_of(&msix.adopt_irqfd(0, fds::new()).unwrap_err());
    let said = std::io::Error::from(Errno::TOOMANYREFS).to_string();
    assert!(error.contains(&format!("sendmsg: {said}")), "{error}");
    assert_eq!(msix.trigger(0).unwrap(), Signal::HandedOver);
    assert_eq!(vmm.deliver(), [(0, message(0, 1))]);
    drop(on_their_way);
    let adopted = msix.adopt_irqfd(0, fds::new()).unwrap();
    msix.flush().unwrap();
    fds::signal(&adopted);
    assert_eq!(vmm.deliver(), [(0, message(0, 1))]);
}

#[test]
fn c3_an_open_vector_that_has_neither_eventfd_at_the_vmm_latches_until_it_has_one() {
    let _alone = alone();
    let (mut msix, vmm, _server) = half_open();
    be_humble();
    let on_their_way = in_flight();
    vmm.set_faults(Faults { adopt: 100, ..Faults::default() });
    vmm.when_refused(|| fds::set_limit(100));
    msix.adopt_irqfd(0, fds::new()).unwrap_err();
    vmm.set_faults(Faults::default());

    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    assert!(GuestDriver::new(&mut msix).is_pending(0));
    msix.flush().unwrap_err();
    assert_eq!(unsynced(&msix), [0]);
    drop(on_their_way);
    msix.flush().unwrap();
    assert_eq!(vmm.deliver(), [(0, message(0, 1))]);
}
