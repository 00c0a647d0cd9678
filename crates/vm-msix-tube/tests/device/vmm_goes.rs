//! A VMM that stops in the middle: it goes, says nothing any more, or says what no VMM says. The function goes on without it, and
//! keeps what it is signalled.

use std::error::Error;
use std::thread;
use std::time::Duration;

use vm_msix::test_utils::GuestDriver;
use vm_msix::{MsixConfig, MsixError, Signal};
use vm_msix_tube::{Tube, TubeBackend, TubeError};

use super::support::raw::{Raw, frame, reply};
use super::support::wire::{Answer, Ask, Failure, Outcome, Request};
use super::support::{FOREVER, alone, fds, message};

const VECTORS: u16 = 4;

/// What it does when it has answered so many requests as it should.
#[derive(Clone, Copy, Debug)]
enum Stop {
    Goes,
    Silence,
    Garbage,
    AnotherNumber,
    AnOldNumber,
    TooManyResults,
    NoResults,
    AVectorThatIsNot,
    HalfAnAnswer,
    ARequest,
}

const STOPS: [Stop; 10] = [
    Stop::Goes,
    Stop::Silence,
    Stop::Garbage,
    Stop::AnotherNumber,
    Stop::AnOldNumber,
    Stop::TooManyResults,
    Stop::NoResults,
    Stop::AVectorThatIsNot,
    Stop::HalfAnAnswer,
    Stop::ARequest,
];

fn done(results: usize, late: Vec<(u16, Failure)>) -> Answer {
    Answer::Done { results: vec![Outcome::Done; results], late }
}

impl Stop {
    /// Nothing else than the time that it takes ends it.
    fn is_silence(self) -> bool {
        matches!(self, Self::Silence | Self::HalfAnAnswer)
    }
}

fn is_late(error: &(dyn Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(TubeError::TimedOut)) || error.source().is_some_and(is_late)
}

/// Answers so many requests, and then stops, until the function goes.
fn serve(raw: &Raw, answers: usize, stop: Stop) {
    let mut answered = 0;
    while let Some(packet) = raw.receive() {
        let Ok(Request { number, ask }) = postcard::from_bytes(&packet[3..]) else { continue };
        let results = match &ask {
            Ask::SetRoutes(changes) => changes.len(),
            Ask::Swap(..) => 2,
            _ => 0,
        };
        let right = match ask {
            Ask::Hello { .. } => Answer::Welcome,
            _ => done(results, vec![]),
        };
        answered += 1;
        let packet = match stop {
            _ if answered <= answers => reply(number, right),
            Stop::Goes => return,
            Stop::Silence => continue,
            Stop::Garbage => vec![0xff; 40],
            Stop::AnotherNumber => reply(number + 1, right),
            Stop::AnOldNumber => reply(number.wrapping_sub(1), right),
            Stop::TooManyResults => reply(number, done(results + 1, vec![])),
            Stop::NoResults => reply(number, done(usize::from(results == 0), vec![])),
            Stop::AVectorThatIsNot => {
                reply(number, done(results, vec![(VECTORS, Failure::Exhausted)]))
            }
            Stop::HalfAnAnswer => vec![1, 1, 1, 0],
            Stop::ARequest => frame(&Request { number, ask: Ask::Flush }, 0),
        };
        if raw.packet(&packet, &[]).is_err() {
            return;
        }
    }
}

/// A function whose VMM stops like this.
fn with_a_vmm_that(
    answers: usize,
    stop: Stop,
    run: impl FnOnce(Result<MsixConfig<TubeBackend>, MsixError>),
) {
    let (here, there) = Tube::pair().unwrap();
    let timeout = if stop.is_silence() { Duration::from_millis(20) } else { FOREVER };
    there.set_recv_timeout(Some(timeout)).unwrap();
    let raw = Raw::new(here.into_socket());
    thread::scope(|scope| {
        scope.spawn(move || serve(&raw, answers, stop));
        run(MsixConfig::new(VECTORS, there, 0, "left alone"));
    });
}

/// Everything that a function asks for, in turn; its failures are the VMM's.
fn live(msix: &mut MsixConfig<TubeBackend>) {
    let messages: Vec<_> = (0..VECTORS).map(|vector| message(vector, 1)).collect();
    GuestDriver::new(&mut *msix).bring_up(&messages);
    let _guard = msix.get_irqfd(0).unwrap();
    let _ = msix.trigger(0).unwrap();
    GuestDriver::new(&mut *msix).change_affinity(1, message(1, 2));
    let _ = msix.swap_irqfds(1, 2);
    let _adopted = msix.adopt_irqfd(3, fds::new());
    let _ = msix.flush();
    GuestDriver::new(&mut *msix).disable();
    msix.reset();
    GuestDriver::new(&mut *msix).bring_up(&messages);
    let _ = msix.flush();
}

#[test]
fn c11_wherever_a_vmm_stops_the_function_latches_and_lists_what_is_not_open() {
    let _alone = alone();
    let before = fds::count();
    for stop in STOPS {
        for answers in 0..24 {
            with_a_vmm_that(answers, stop, |msix| {
                let mut msix = match msix {
                    Ok(msix) => msix,
                    Err(_) if answers == 0 => return,
                    // On a busy machine an answer may take as long as none.
                    Err(error) => {
                        return assert!(stop.is_silence() && is_late(&error), "{stop:?}: {error}");
                    }
                };
                live(&mut msix);
                // The last of them may have been answered as it should.
                let is_over = msix.flush().is_err();
                assert!(is_over || answers >= 16, "{stop:?} after {answers}");
                if is_over {
                    assert_eq!(msix.unsynced().count(), usize::from(VECTORS));
                    for vector in 0..VECTORS {
                        assert_eq!(msix.trigger(vector).unwrap(), Signal::Latched, "{vector}");
                        assert!(GuestDriver::new(&mut msix).is_pending(vector));
                    }
                }
            });
        }
    }
    fds::expect(before);
}

#[test]
fn c3_what_was_handed_over_to_a_vmm_that_goes_is_pending_again() {
    let _alone = alone();
    // A greeting, an opening.
    for mask_hears_of_it in [false, true] {
        with_a_vmm_that(2, Stop::Goes, |msix| {
            let mut msix = msix.unwrap();
            GuestDriver::new(&mut msix).bring_up(&[message(0, 1)]);
            assert_eq!(msix.trigger(0).unwrap(), Signal::HandedOver);
            if mask_hears_of_it {
                GuestDriver::new(&mut msix).mask(0);
            } else {
                assert!(msix.flush().is_err());
            }
            assert!(GuestDriver::new(&mut msix).is_pending(0));
        });
    }
}
