//! Requests that can be read, with one thing wrong.

use std::os::fd::AsFd;

use vm_msix_tube::{Refusal, SessionEnd, Violation};

use super::site::{Site, VECTORS, violation};
use super::support::raw::frame;
use super::support::vmm::Faults;
use super::support::wire::{Answer, Ask, Change, Failure, Outcome, Request, closes, hello, opens};
use super::support::{alone, fds};

#[test]
fn a_greeting_with_one_thing_wrong_is_refused_with_the_reason() {
    let _alone = alone();
    let mut site = Site::new();
    let greeting =
        |magic: &[u8; 4], version, vectors| Ask::Hello { magic: *magic, version, vectors };
    let vectors = |asked| SessionEnd::Refused(Refusal::Vectors { asked, quota: VECTORS });
    let version = |asked| SessionEnd::Refused(Refusal::Version { asked, served: 1 });
    let wrong = [
        (greeting(b"msiX", 1, 1), violation(Violation::Greeting)),
        (greeting(b"\0\0\0\0", 1, 1), violation(Violation::Greeting)),
        (greeting(b"msix", 0, 1), version(0)),
        (greeting(b"msix", 2, 1), version(2)),
        (greeting(b"msix", u16::MAX, 1), version(u16::MAX)),
        (greeting(b"msix", 1, 0), vectors(0)),
        (greeting(b"msix", 1, VECTORS + 1), vectors(VECTORS + 1)),
        (greeting(b"msix", 1, 2048), vectors(2048)),
        (greeting(b"msix", 1, 2049), vectors(2049)),
        (greeting(b"msix", 1, u16::MAX), vectors(u16::MAX)),
        (Ask::Flush, violation(Violation::Greeting)),
        (Ask::Release, violation(Violation::Greeting)),
        (Ask::Swap(0, 0), violation(Violation::Greeting)),
        (Ask::SetRoutes(vec![]), violation(Violation::Greeting)),
    ];
    for (ask, reason) in wrong {
        let mut hostile = site.hostile();
        hostile.raw.post(ask, &[]).unwrap();
        hostile.expect_told(reason);
    }
    // Within its quota, and still not what the VMM has for it.
    let mut hostile = site.hostile();
    hostile.raw.post(hello(VECTORS - 1), &[]).unwrap();
    hostile.expect_told(SessionEnd::Refused(Refusal::NoDelivery));
    site.expect_alone();
}

#[test]
fn a_request_with_one_thing_wrong_ends_the_session_and_is_not_done_in_part() {
    let _alone = alone();
    let mut site = Site::new();
    let vector = |vector| violation(Violation::Vector { vector, vectors: VECTORS });
    let order = |vector| violation(Violation::Order { vector });
    let routes = |changes: &[Change]| Ask::SetRoutes(changes.to_vec());
    let wrong = [
        (hello(VECTORS), violation(Violation::Greeting)),
        (Ask::Swap(0, VECTORS), vector(VECTORS)),
        (Ask::Swap(u16::MAX, 0), vector(u16::MAX)),
        (routes(&[closes(0), closes(VECTORS)]), vector(VECTORS)),
        (routes(&[closes(0), closes(u16::MAX)]), vector(u16::MAX)),
        (routes(&[closes(1), closes(0)]), order(0)),
        (routes(&[closes(0), closes(1), closes(1)]), order(1)),
        (
            routes(&[closes(0), opens(1, true)]),
            violation(Violation::Descriptors { came: 0, wanted: 1 }),
        ),
    ];
    for (ask, reason) in wrong {
        let mut hostile = site.greeted();
        let asked = hostile.vmm.asked();
        hostile.raw.post(ask, &[]).unwrap();
        let reply = hostile.raw.answer().unwrap();
        assert!(matches!(reply.answer, Answer::Refused(_)), "{reply:?}");
        assert_eq!(super::support::end_of(&hostile.ended), reason);
        // The release, and nothing before it.
        assert_eq!(hostile.vmm.asked(), asked + 1);
    }
    site.expect_alone();
}

#[test]
fn a_vector_without_an_eventfd_cannot_be_opened() {
    let _alone = alone();
    let mut site = Site::new();
    let mut hostile = site.hostile();
    assert_eq!(hostile.raw.ask(hello(VECTORS), &[]), Some(Answer::Welcome));
    hostile.set_routes(vec![closes(0), opens(1, false)], &[]);
    hostile.expect_told(violation(Violation::NoEventfd { vector: 1 }));

    let mut hostile = site.greeted();
    hostile.raw.ask(Ask::Release, &[]).unwrap();
    assert_eq!(hostile.vmm.eventfds(), 0);
    hostile.set_routes(vec![opens(1, false)], &[]);
    hostile.expect_told(violation(Violation::NoEventfd { vector: 1 }));
    site.expect_alone();
}

#[test]
fn numbers_that_are_not_the_next_end_the_session() {
    let _alone = alone();
    let mut site = Site::new();
    for number in [0, 1, 3, u64::MAX] {
        let hostile = site.greeted();
        hostile.raw.packet(&frame(&Request { number, ask: Ask::Flush }, 0), &[]).unwrap();
        hostile.expect_told(violation(Violation::Number { got: number, expected: 2 }));
    }
    site.expect_alone();
}

#[test]
fn descriptors_with_requests_that_take_none_end_the_session() {
    let _alone = alone();
    let mut site = Site::new();
    let eventfd = fds::new();
    for ask in [Ask::Flush, Ask::Release, Ask::Swap(0, 1), Ask::SetRoutes(vec![closes(0)])] {
        let mut hostile = site.greeted();
        hostile.raw.post(ask, &[eventfd.as_fd()]).unwrap();
        hostile.expect_told(violation(Violation::Descriptors { came: 1, wanted: 0 }));
    }
    let mut hostile = site.hostile();
    hostile.raw.post(hello(VECTORS), &[eventfd.as_fd(); 3]).unwrap();
    hostile.expect_told(violation(Violation::Descriptors { came: 3, wanted: 0 }));
    drop(eventfd);
    site.expect_alone();
}

#[test]
fn what_the_vmm_cannot_do_is_answered_vector_by_vector_and_the_session_goes_on() {
    let _alone = alone();
    let mut site = Site::new();
    let mut hostile = site.greeted();
    let eventfd = fds::new();
    hostile.vmm.set_faults(Faults { adopt: 100, ..Faults::default() });
    let changes = vec![closes(0), opens(1, true)];
    let answer = hostile.raw.ask(Ask::SetRoutes(changes), &[eventfd.as_fd()]).unwrap();
    let results = vec![Outcome::Done, Outcome::Failed(Failure::Refused)];
    assert_eq!(answer, Answer::Done { results, late: vec![] });
    hostile.vmm.set_faults(Faults { swap: 100, ..Faults::default() });
    let answer = hostile.raw.ask(Ask::Swap(1, 2), &[]).unwrap();
    let results = vec![Outcome::Failed(Failure::StillOpen); 2];
    assert_eq!(answer, Answer::Done { results, late: vec![] });
    drop((hostile, eventfd));
    site.expect_alone();
}

#[test]
fn a_hook_that_panics_ends_that_session_and_the_rest_is_given_back() {
    let _alone = alone();
    let mut site = Site::new();
    // In a request, when the release panics, and then each guard; and when the device process goes.
    for goes in [false, true] {
        let mut hostile = site.greeted();
        hostile.vmm.set_faults(Faults { panic: true, ..Faults::default() });
        if goes {
            hostile.raw.finish();
        } else {
            hostile.raw.post(Ask::Release, &[]).unwrap();
        }
        assert_eq!(super::support::end_of(&hostile.ended), SessionEnd::Panicked);
        assert_eq!(hostile.vmm.eventfds(), 0);
    }
    site.expect_alone();
}
