//! The fuzzers' corpus, replayed; and the seeds that it grew from.
//!
//! `VM_MSIX_WRITE_SEEDS=1` writes the seeds, after a change of the protocol or of the saved state.

#[path = "../../../fuzz/replay.rs"]
mod replay;
mod support;

use vm_msix::MsixConfig;
use vm_msix::test_utils::{GuestDriver, MockBackend};

use replay::{expect_seed, replay};
use support::fuzz::{self, PCI_ID, VECTORS, of_packets};
use support::raw::{Raw, reply};
use support::wire::{Answer, Ask, Failure, Outcome, closes, hello, opens};
use support::{alone, message};

#[test]
fn what_device_processes_have_sent() {
    let _alone = alone();
    replay("tube_session", fuzz::tube_session);
}

#[test]
fn what_a_vmm_has_answered() {
    let _alone = alone();
    replay("tube_answers", fuzz::tube_answers);
}

#[test]
fn what_saved_states_have_held() {
    let _alone = alone();
    replay("state", fuzz::state);
}

/// A session as an honest device process has it.
fn session() -> Vec<u8> {
    let (socket, _) = vm_msix_tube::Tube::pair().unwrap();
    let mut raw = Raw::new(socket.into_socket());
    let asks = [
        (hello(VECTORS), 0),
        (Ask::SetRoutes((0..VECTORS).map(|vector| opens(vector, true)).collect()), 4),
        (Ask::SetRoutes(vec![closes(1), opens(2, false)]), 0),
        (Ask::SetRoutes(vec![opens(1, true)]), 1),
        (Ask::Swap(0, 3), 0),
        (Ask::Flush, 0),
        (Ask::Release, 0),
        (Ask::SetRoutes(vec![closes(0)]), 0),
    ];
    let of_one = |(ask, descriptors): (Ask, u8)| {
        let mut packet = raw.frame(ask);
        packet[1] = descriptors;
        (descriptors, packet)
    };
    of_packets(&asks.into_iter().map(of_one).collect::<Vec<_>>())
}

/// Answers to every request of `fuzz::tube_answers` until one fails late.
fn answers() -> Vec<u8> {
    let done = |results: &[Outcome], late: &[(u16, Failure)]| Answer::Done {
        results: results.to_vec(),
        late: late.to_vec(),
    };
    let one = [Outcome::Done];
    let four = vec![Outcome::Done; 4];
    let answers = [
        Answer::Welcome,
        done(&four, &[]),
        done(&one, &[(2, Failure::Exhausted)]),
        done(&[Outcome::Kept], &[]),
        done(&one, &[]),
        done(&[Outcome::Failed(Failure::Refused)], &[]),
        done(&one, &[(0, Failure::StillOpen)]),
        done(&[Outcome::Done, Outcome::Kept], &[]),
        done(&one, &[]),
        done(&[], &[]),
    ];
    let numbered = (0..).zip(answers);
    let packets: Vec<_> = numbered.map(|(number, answer)| (0, reply(number, answer))).collect();
    of_packets(&packets)
}

/// A function in the middle of its life, in both forms.
fn states() -> [Vec<u8>; 2] {
    let backend = MockBackend::new(VECTORS).unwrap();
    let mut msix = MsixConfig::new(VECTORS, &backend, PCI_ID, "fuzz").unwrap();
    let messages: Vec<_> = (0..VECTORS).map(|vector| message(vector, 1)).collect();
    GuestDriver::new(&mut msix).bring_up(&messages);
    GuestDriver::new(&mut msix).mask(2);
    msix.trigger(2).unwrap();
    let state = msix.snapshot();
    let postcard = postcard::to_stdvec(&state).unwrap();
    let json = serde_json::to_vec(&state).unwrap();
    [[vec![0], postcard].concat(), [vec![1], json].concat()]
}

#[test]
fn seeds_are_of_this_protocol_and_this_state() {
    let _alone = alone();
    let [postcard, json] = states();
    let seeds = [
        ("tube_session", "seed-session", session()),
        ("tube_answers", "seed-answers", answers()),
        ("state", "seed-postcard", postcard),
        ("state", "seed-json", json),
    ];
    for (target, name, seed) in seeds {
        expect_seed(target, name, &seed);
    }
}
