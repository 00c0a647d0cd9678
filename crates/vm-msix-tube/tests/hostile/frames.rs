//! Packets and bytes that no tube sends.

use vm_msix_tube::SessionEnd;

use super::site::{FRAME, Site, VECTORS};
use super::support::raw::frame;
use super::support::wire::{Ask, Request, closes, hello, opens};
use super::support::{alone, fds};

/// Every kind of request, whole.
fn requests() -> Vec<Ask> {
    vec![
        hello(VECTORS),
        Ask::SetRoutes(vec![opens(0, false), closes(3), opens(7, false)]),
        Ask::Flush,
        Ask::Release,
        Ask::Swap(1, 300),
    ]
}

#[test]
fn every_truncation_of_every_request_ends_the_session() {
    let _alone = alone();
    let mut site = Site::new();
    for ask in requests() {
        let is_hello = matches!(ask, Ask::Hello { .. });
        let whole = frame(&Request { number: if is_hello { 0 } else { 2 }, ask: ask.clone() }, 0);
        for length in 0..whole.len() {
            let hostile = if is_hello { site.hostile() } else { site.greeted() };
            hostile.raw.packet(&whole[..length], &[]).unwrap();
            match length {
                // An empty packet is the end, as a receiver sees it.
                0 => hostile.expect(SessionEnd::Disconnected),
                _ => hostile.expect_told(FRAME),
            }
        }
        site.check();
    }
    site.expect_alone();
}

#[test]
fn bytes_after_a_request_end_the_session() {
    let _alone = alone();
    let mut site = Site::new();
    for ask in requests() {
        let is_hello = matches!(ask, Ask::Hello { .. });
        let mut bytes = frame(&Request { number: if is_hello { 0 } else { 2 }, ask }, 0);
        bytes.push(0);
        let hostile = if is_hello { site.hostile() } else { site.greeted() };
        hostile.raw.packet(&bytes, &[]).unwrap();
        hostile.expect_told(FRAME);
    }
    site.expect_alone();
}

#[test]
fn every_byte_set_to_every_extreme_ends_the_session_or_is_served() {
    let _alone = alone();
    let mut site = Site::new();
    for ask in requests() {
        let is_hello = matches!(ask, Ask::Hello { .. });
        let whole = frame(&Request { number: if is_hello { 0 } else { 2 }, ask }, 0);
        for at in 0..whole.len() {
            for extreme in [0, 1, 5, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = extreme;
                let hostile = if is_hello { site.hostile() } else { site.greeted() };
                hostile.raw.packet(&bytes, &[]).unwrap();
                hostile.raw.finish();
                while hostile.raw.answer().is_some() {}
                let reason = super::support::end_of(&hostile.ended);
                let is_known = matches!(reason, SessionEnd::Refused(_) | SessionEnd::Disconnected);
                assert!(is_known, "byte {at} as {extreme:#x}: {reason}");
                assert_eq!((hostile.vmm.open(), hostile.vmm.eventfds()), (0, 0));
            }
        }
        site.check();
    }
    site.expect_alone();
}

#[test]
fn lengths_and_tags_at_their_extremes_are_refused_without_memory_for_them() {
    let _alone = alone();
    let mut site = Site::new();
    let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let bodies: [&[u8]; 6] = [
        // As many changes as can be written, of which none come.
        &[&[2, 1][..], &most].concat(),
        &[&[2, 1][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat(),
        // No such request, no such route, neither true nor false.
        &[2, 5],
        &[&[2][..], &most].concat(),
        &[2, 1, 1, 0, 2, 0],
        &[2, 1, 1, 0, 0, 2],
    ];
    for body in bodies {
        let hostile = site.greeted();
        hostile.raw.packet(&[&[1, 0, 0], body].concat(), &[]).unwrap();
        hostile.expect_told(FRAME);
    }
    site.expect_alone();
}

#[test]
fn packets_longer_than_a_message_end_the_session() {
    let _alone = alone();
    let mut site = Site::new();
    for length in [64 * 1024 + 4, 100_000] {
        let hostile = site.greeted();
        hostile.raw.packet(&vec![1; length], &[]).unwrap();
        hostile.expect_told(FRAME);
    }
    site.expect_alone();
}

#[test]
fn headers_that_no_tube_sends_end_the_session() {
    let _alone = alone();
    let mut site = Site::new();
    let eventfd = fds::new();
    let many = [std::os::fd::AsFd::as_fd(&eventfd); 253];
    let headers: [(&[u8], usize); 9] = [
        (&[0, 0, 0], 0),
        (&[2, 0, 0], 0),
        (&[2, 1, 0], 1),
        (&[3, 0, 0], 0),
        (&[1, 1, 0], 0),
        (&[1, 0, 0], 1),
        (&[1, 9, 0], 9),
        (&[1, 0, 1], 253),
        (&[1, 255, 255], 253),
    ];
    for (header, descriptors) in headers {
        let hostile = site.greeted();
        hostile.raw.packet(header, &many[..descriptors]).unwrap();
        hostile.expect_told(FRAME);
    }
    drop(eventfd);
    site.expect_alone();
}
