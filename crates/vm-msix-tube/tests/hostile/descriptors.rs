//! Descriptors that are no vector's, and more of them than there are vectors.

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll;
use rustix::net::sockopt::set_socket_linger;
use vm_msix_tube::SessionEnd;

use super::site::{FRAME, Site, VECTORS};
use super::support::raw::Raw;
use super::support::wire::{Ask, hello, opens};
use super::support::{alone, fds, until};

/// Half a message: 254 descriptors are to come, and 253 come.
fn half_a_message(site: &Site, descriptor: &OwnedFd) -> super::site::Hostile {
    let hostile = site.greeted();
    hostile.raw.packet(&[1, 254, 0, 0], &[descriptor.as_fd(); 253]).unwrap();
    hostile
}

#[test]
fn what_is_no_eventfd_ends_the_session() {
    let _alone = alone();
    let mut site = Site::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let others: [OwnedFd; 5] = [
        File::open("/dev/null").unwrap().into(),
        File::open("/proc/self/exe").unwrap().into(),
        reader.into(),
        writer.into(),
        TcpListener::bind("127.0.0.1:0").unwrap().into(),
    ];
    for other in others {
        let mut hostile = site.greeted();
        let eventfd = fds::new();
        let changes = vec![opens(0, true), opens(1, true)];
        hostile.set_routes(changes, &[eventfd.as_fd(), other.as_fd()]);
        drop(other);
        hostile.expect_told(FRAME);
    }
    site.expect_alone();
}

#[test]
fn an_epoll_descriptor_is_for_the_backend_to_refuse() {
    let _alone = alone();
    let mut site = Site::new();
    let mut hostile = site.greeted();
    let other = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let answer = hostile.raw.ask(Ask::SetRoutes(vec![opens(0, true)]), &[other.as_fd()]);
    assert!(answer.is_some());
    drop((other, hostile));
    site.expect_alone();
}

#[test]
fn its_own_end_of_the_tube_in_half_a_message_does_not_keep_the_session_when_it_dies() {
    let _alone = alone();
    let mut site = Site::new();
    let hostile = site.greeted();
    let own = hostile.raw.as_fd().try_clone_to_owned().unwrap();
    hostile.raw.packet(&[1, 254, 0, 0], &[own.as_fd(); 253]).unwrap();
    drop(own);
    let super::site::Hostile { raw, ended, .. } = hostile;
    drop(raw);
    assert_eq!(super::support::end_of(&ended), FRAME);
    site.expect_alone();
}

#[test]
fn half_a_message_and_silence_costs_nobody_anything_and_ends_with_the_connection() {
    let _alone = alone();
    let mut site = Site::new();
    // A quota of eight takes no half messages; this one could be whole.
    let eventfd = fds::new();
    half_a_message(&site, &eventfd).expect_told(FRAME);
    let hostile = site.hostile_with(2048, Default::default());
    hostile.raw.packet(&[1, 254, 0, 0], &[eventfd.as_fd(); 253]).unwrap();
    until("half a message", || fds::count() > 253);
    site.check();
    hostile.raw.finish();
    hostile.expect(SessionEnd::Disconnected);
    drop(eventfd);
    site.expect_alone();
}

#[test]
fn no_more_descriptors_are_taken_than_the_quota_and_a_packet_have() {
    let _alone = alone();
    let mut site = Site::new();
    let before = fds::count();
    let eventfd = fds::new();
    for _ in 0..50 {
        let hostile = site.greeted();
        // 2048 to come, of which a session with eight vectors has no use.
        let _ = hostile.raw.packet(&[1, 0, 8, 0], &[eventfd.as_fd(); 253]);
        for left in (1..8_u16).rev() {
            let [low, high] = (left * 256).to_le_bytes();
            let _ = hostile.raw.packet(&[2, low, high], &[eventfd.as_fd(); 253]);
        }
        assert!(fds::count() < before + 400, "{}", fds::count());
        hostile.expect(FRAME);
    }
    drop(eventfd);
    site.expect_alone();
}

#[test]
fn eventfds_brought_again_and_again_do_not_add_up() {
    let _alone = alone();
    let mut site = Site::new();
    let mut hostile = site.greeted();
    let before = fds::count();
    let eventfd = fds::new();
    for _ in 0..300 {
        // The same one for every vector, too.
        let changes = (0..8).map(|vector| opens(vector, true)).collect();
        let answer = hostile.raw.ask(Ask::SetRoutes(changes), &[eventfd.as_fd(); 8]);
        assert!(answer.is_some());
        assert!(fds::count() <= before + 1);
    }
    drop((hostile, eventfd));
    site.expect_alone();
}

/// A socket that nobody else has any more, and whoever closes it waits an hour, or until the receiver goes.
fn lingering() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (receiver, _) = listener.accept().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.write(&[0; 1 << 16]).is_ok() {}
    set_socket_linger(&sender, Some(Duration::from_secs(3600))).unwrap();
    (sender.into(), receiver)
}

/// What it did before it was served; the server's copy of the socket is the last.
#[track_caller]
fn linger(what: impl FnOnce(&mut Raw, &OwnedFd)) {
    let _alone = alone();
    let mut site = Site::new();
    let (sender, receiver) = lingering();
    let hostile = site.hostile_after(VECTORS, Default::default(), |raw| {
        what(raw, &sender);
        drop(sender);
    });
    hostile.expect(FRAME);
    site.check();
    drop(receiver);
    site.expect_alone();
}

#[test]
fn a_socket_that_lingers_in_the_place_of_an_eventfd_holds_nobody_up() {
    linger(|raw, sender| {
        raw.post(hello(VECTORS), &[]).unwrap();
        raw.post(Ask::SetRoutes(vec![opens(0, true)]), &[sender.as_fd()]).unwrap();
    });
}

#[test]
fn a_socket_that_lingers_after_the_end_of_a_session_holds_nobody_up() {
    linger(|raw, sender| {
        raw.packet(&[9], &[]).unwrap();
        raw.packet(&[1, 1, 0], &[sender.as_fd()]).unwrap();
    });
}

#[test]
fn a_socket_that_lingers_in_a_packet_that_is_too_long_holds_nobody_up() {
    linger(|raw, sender| raw.packet(&[1; 70_000], &[sender.as_fd()]).unwrap());
}
