//! Too many requests, and answers that nobody takes.

use std::os::fd::AsFd;

use rustix::io::Errno;
use vm_msix_tube::SessionEnd;

use super::site::{Site, VECTORS};
use super::support::vmm::Faults;
use super::support::wire::{Answer, Ask, Failure, hello, opens};
use super::support::{alone, fds};

#[test]
fn a_greeting_and_then_nothing_holds_nobody_up() {
    let _alone = alone();
    let mut site = Site::new();
    let silent: Vec<_> = (0..20).map(|_| site.hostile()).collect();
    let greeted: Vec<_> = (0..20).map(|_| site.greeted()).collect();
    assert_eq!(site.server.sessions(), 41);
    site.check();
    for hostile in silent.into_iter().chain(greeted) {
        hostile.raw.finish();
        hostile.expect(SessionEnd::Disconnected);
    }
    site.expect_alone();
}

#[test]
fn requests_without_an_end_whose_answers_nobody_takes_end_the_session() {
    let _alone = alone();
    let mut site = Site::new();
    for ask in [Ask::Flush, Ask::Swap(0, 1), Ask::Release] {
        let mut hostile = site.greeted();
        let mut sent = 0;
        while hostile.raw.post(ask.clone(), &[]).is_ok() {
            sent += 1;
        }
        assert!(sent > 128, "only {sent} answers had room");
        hostile.expect(SessionEnd::Stuck);
        site.check();
    }
    site.expect_alone();
}

#[test]
fn a_hundred_thousand_requests_are_answered_and_leave_nothing() {
    let _alone = alone();
    let mut site = Site::new();
    let mut hostile = site.greeted();
    let before = fds::count();
    for round in 0..1000 {
        for _ in 0..100 {
            hostile.raw.post(Ask::Flush, &[]).unwrap();
        }
        (0..100).for_each(|_| assert!(hostile.raw.answer().is_some()));
        if round % 100 == 0 {
            site.check();
        }
    }
    assert!(fds::count() <= before);
    hostile.raw.finish();
    hostile.expect(SessionEnd::Disconnected);
    site.expect_alone();
}

/// As many answers as a device process may leave untaken, each as long as they can be: the VMM never calls it stuck.
#[test]
fn a_window_of_the_longest_answers_has_room_in_a_socket_as_it_comes() {
    const WINDOW: usize = 128;
    let _alone = alone();
    let mut site = Site::new();
    let mut hostile = site.hostile_with(VECTORS, Faults { late: 100, ..Faults::default() });
    assert_eq!(hostile.raw.ask(hello(VECTORS), &[]), Some(Answer::Welcome));
    let eventfd = fds::new();
    for _ in 0..WINDOW {
        let changes = (0..VECTORS).map(|vector| opens(vector, true)).collect();
        hostile.set_routes(changes, &vec![eventfd.as_fd(); VECTORS.into()]);
    }
    let mut late = 0;
    for _ in 0..WINDOW {
        let Some(Answer::Done { late: failures, .. }) =
            hostile.raw.answer().map(|reply| reply.answer)
        else {
            panic!("the session is over")
        };
        assert!(failures.iter().all(|(_, failure)| *failure != Failure::StillOpen));
        late += failures.len();
    }
    assert!(late > 0, "nothing failed late");
    drop((hostile, eventfd));
    site.expect_alone();
}

#[test]
fn one_that_floods_and_reads_costs_the_honest_one_nothing() {
    let _alone = alone();
    let mut site = Site::new();
    let hostile = site.greeted();
    std::thread::scope(|scope| {
        let socket = hostile.raw.as_fd().try_clone_to_owned().unwrap();
        let reader = super::support::raw::Raw::new(socket);
        scope.spawn(move || while reader.receive().is_some() {});
        let mut writer = hostile.raw;
        let flood = scope.spawn(move || {
            loop {
                match writer.post(Ask::Flush, &[]) {
                    Ok(()) => {}
                    Err(Errno::PIPE | Errno::CONNRESET) => return writer,
                    Err(errno) => panic!("{errno}"),
                }
            }
        });
        (0..20).for_each(|_| site.check());
        // The end of the server is the end of the flood.
        drop(std::mem::replace(&mut site, Site::new()));
        drop(flood.join().unwrap());
    });
    drop(hostile.vmm);
}
