//! Device processes that keep to no rule, on KVM: two honest ones beside them lose nothing, and no GSI stays behind.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use vm_msix::Signal;
use vm_msix_tube::{Refusal, SessionEnd, Violation};

use crate::host::{Ended, Host, Remote, guest};
use crate::raw::Raw;
use crate::support::to_apic;
use crate::support::wait::until;
use crate::wire::{Answer, Ask, Change, Failure, Outcome, Route, hello};

/// Vectors of every hostile one, which are also its quota.
const VECTORS: u16 = 16;

/// Two honest functions, each with a CPU of its own.
struct Honest<'a> {
    host: &'a Host,
    functions: [Remote; 2],
}

impl<'a> Honest<'a> {
    fn new(host: &'a Host) -> Self {
        let bring_up = |cpu: u8| {
            let mut msix = host.function(2);
            guest(&mut msix).bring_up(&[to_apic(cpu, 0x41), to_apic(cpu, 0x42)]);
            msix.flush().unwrap();
            msix
        };
        Self { host, functions: [0, 1].map(bring_up) }
    }

    /// Each signal arrives, at its CPU, and nothing else arrives there.
    #[track_caller]
    fn shake_hands(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for (msix, cpu) in self.functions.iter_mut().zip(&self.host.fixture.cpus) {
                for vector in [0, 1] {
                    assert_eq!(msix.trigger(vector).unwrap(), Signal::HandedOver);
                    let interrupt = 0x41 + vector as u8;
                    until("a signal of the honest", || cpu.has(interrupt));
                    assert_eq!(cpu.requested(), [interrupt]);
                    cpu.clear();
                }
            }
        }
    }

    /// Masks still hold, and what they hold arrives once.
    #[track_caller]
    fn mask_and_unmask(&mut self) {
        for (msix, cpu) in self.functions.iter_mut().zip(&self.host.fixture.cpus) {
            guest(msix).mask(1);
            assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
            assert!(guest(msix).is_pending(1));
            cpu.expect_nothing();
            guest(msix).unmask(1);
            cpu.expect(0x42);
        }
    }

    /// The hostile one is gone, and nothing of it is left.
    #[track_caller]
    fn expect_alone(&mut self) {
        until("the end of the hostile session", || self.host.server.sessions() == 2);
        assert_eq!(self.host.router.gsis_in_use(), 4);
        self.shake_hands(5);
        self.mask_and_unmask();
    }
}

/// Opens to an interrupt that no CPU has, so that what is delivered to the honest ones is theirs.
fn opens(vector: u16) -> Change {
    let message = to_apic(9, 0x99);
    let route = Route::Open { address: message.address, data: message.data };
    Change { vector, route, brings: true }
}

fn new_eventfd(flags: EventfdFlags) -> OwnedFd {
    eventfd(0, flags | EventfdFlags::CLOEXEC).unwrap()
}

fn greeted(host: &Host) -> (Raw, Ended) {
    let (tube, ended) = host.serve(VECTORS);
    let mut raw = Raw::new(tube.into_socket());
    assert_eq!(raw.ask(hello(VECTORS), &[]), Some(Answer::Welcome));
    (raw, ended)
}

/// One that has all its vectors open.
fn armed(host: &Host) -> (Raw, Ended) {
    let (mut raw, ended) = greeted(host);
    let eventfds: Vec<_> = (0..VECTORS).map(|_| new_eventfd(EventfdFlags::NONBLOCK)).collect();
    let borrowed: Vec<_> = eventfds.iter().map(AsFd::as_fd).collect();
    let asked = raw.ask(Ask::SetRoutes((0..VECTORS).map(opens).collect()), &borrowed);
    assert!(matches!(asked, Some(Answer::Done { .. })), "{asked:?}");
    assert!(raw.ask(Ask::Flush, &[]).is_some());
    (raw, ended)
}

fn reason(ended: &Ended) -> SessionEnd {
    ended.recv_timeout(std::time::Duration::from_secs(120)).unwrap()
}

#[test]
fn one_that_stops_answering_costs_the_honest_nothing() {
    let Some(host) = Host::new() else { return };
    let mut honest = Honest::new(&host);
    let (raw, ended) = armed(&host);
    raw.packet(&[1, 1, 1, 0], &[]).unwrap();
    assert!(matches!(reason(&ended), SessionEnd::Refused(_)));
    honest.expect_alone();
    let (raw, ended) = armed(&host);
    honest.shake_hands(50);
    honest.mask_and_unmask();
    drop(raw);
    assert_eq!(reason(&ended), SessionEnd::Disconnected);
    honest.expect_alone();
}

#[test]
fn one_that_floods_costs_the_honest_nothing() {
    let Some(host) = Host::new() else { return };
    let mut honest = Honest::new(&host);
    for ask in [Ask::Flush, Ask::Swap(0, 1), Ask::SetRoutes(vec![])] {
        let (mut raw, ended) = armed(&host);
        std::thread::scope(|scope| {
            scope.spawn(move || while raw.post(ask.clone(), &[]).is_ok() {});
            honest.shake_hands(50);
            honest.mask_and_unmask();
        });
        assert_eq!(reason(&ended), SessionEnd::Stuck);
        honest.expect_alone();
    }
}

#[test]
fn one_that_forges_vectors_costs_the_honest_nothing() {
    let Some(host) = Host::new() else { return };
    let mut honest = Honest::new(&host);
    for vector in [VECTORS, 255, 2047, 2048, u16::MAX] {
        let forged = violation(Violation::Vector { vector, vectors: VECTORS });
        let closes = Change { vector, route: Route::Closed, brings: false };
        for ask in [Ask::SetRoutes(vec![closes]), Ask::Swap(vector, 0), Ask::Swap(0, vector)] {
            let (mut raw, ended) = armed(&host);
            raw.post(ask, &[]).unwrap();
            honest.shake_hands(3);
            assert_eq!(reason(&ended), forged);
            honest.expect_alone();
        }
    }
}

fn violation(violation: Violation) -> SessionEnd {
    SessionEnd::Refused(Refusal::Violation(violation))
}

#[test]
fn eventfds_that_cannot_be_a_latch_are_refused_and_the_session_goes_on() {
    let Some(host) = Host::new() else { return };
    let mut honest = Honest::new(&host);
    let (mut raw, ended) = greeted(&host);
    let wrong = [
        new_eventfd(EventfdFlags::empty()),
        new_eventfd(EventfdFlags::SEMAPHORE | EventfdFlags::NONBLOCK),
        rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap(),
    ];
    for eventfd in wrong {
        let asked = raw.ask(Ask::SetRoutes(vec![opens(3)]), &[eventfd.as_fd()]);
        let results = vec![Outcome::Failed(Failure::Refused)];
        assert_eq!(asked, Some(Answer::Done { results, late: vec![] }));
        honest.shake_hands(2);
    }
    drop(raw);
    assert_eq!(reason(&ended), SessionEnd::Disconnected);
    honest.expect_alone();
}

#[test]
fn the_same_eventfd_for_two_vectors_fails_one_of_them() {
    let Some(host) = Host::new() else { return };
    let mut honest = Honest::new(&host);
    let (mut raw, ended) = greeted(&host);
    let eventfd = new_eventfd(EventfdFlags::NONBLOCK);
    let asked = raw.ask(Ask::SetRoutes(vec![opens(0), opens(1)]), &[eventfd.as_fd(); 2]);
    let flushed = raw.ask(Ask::Flush, &[]);
    let failed = |answer: &Option<Answer>| match answer {
        Some(Answer::Done { results, late }) => {
            results.iter().filter(|result| matches!(result, Outcome::Failed(_))).count()
                + late.len()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(failed(&asked) + failed(&flushed), 1, "{asked:?} {flushed:?}");
    honest.shake_hands(2);
    drop(raw);
    assert_eq!(reason(&ended), SessionEnd::Disconnected);
    honest.expect_alone();
}

#[test]
fn gsis_come_back_before_the_next_request_is_served() {
    let Some(host) = Host::new() else { return };
    let mut honest = Honest::new(&host);
    for _ in 0..10 {
        let (raw, _) = armed(&host);
        assert_eq!(host.router.gsis_in_use(), 4 + usize::from(VECTORS));
        // Answered to the end, which it sees when it has nothing any more.
        raw.packet(&[7], &[]).unwrap();
        while raw.answer().is_some() {}
        assert_eq!(host.router.gsis_in_use(), 4);
    }
    honest.expect_alone();
}
