//! Long random lives of a function with 2048 vectors, on both hosts, compared step by step with the oracle.

mod support;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use self::support::host::Host;
use self::support::ops::{Bytes, Fault, Kind, Op};
use self::support::oracle::Oracle;
use self::support::rig::Rig;
use self::support::shrink::shortest;

const VECTORS: u16 = 2048;

#[derive(Clone, Copy, Debug)]
enum Event {
    Run(Op),
    Fail(Fault),
}

/// Few vectors, so that operations meet; the edges of QWORDs and of the table among them.
fn vector() -> impl Strategy<Value = u16> {
    prop_oneof![
        8 => prop::sample::select(vec![0, 1, 63, 64, 127, 1024, 2046, 2047]),
        1 => 0..VECTORS,
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Refused, Kind::Exhausted, Kind::StillOpen])
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=16).prop_map(|bytes| Bytes::new(&bytes))
}

/// What a driver does.
fn sensible() -> impl Strategy<Value = Op> {
    let control = prop::sample::select(vec![0x00_u8, 0x40, 0x80, 0x80, 0x80, 0xc0]);
    prop_oneof![
        4 => (vector(), 0..4_u64, 0..4_u32).prop_map(|(v, at, value)| Op::dword(v, 4 * at, value)),
        2 => (vector(), 0..4_u32, 0..2_u32)
            .prop_map(|(v, data, control)| Op::data_and_control(v, data, control)),
        4 => vector().prop_map(|vector| Op::dword(vector, 12, 0)),
        2 => control.prop_map(|high| Op::Capability(3, Bytes::new(&[high]))),
    ]
}

/// What no driver does.
fn senseless() -> impl Strategy<Value = Op> {
    let near = 0..(16 * u64::from(VECTORS) + 32);
    let offset = prop_oneof![near, any::<u64>(), 0..16_u64];
    (offset, bytes(), 0..3).prop_map(|(offset, bytes, region)| match region {
        0 => Op::Table(offset, bytes),
        1 => Op::Pba(offset, bytes),
        _ => Op::Capability(offset, bytes),
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        16 => sensible(),
        2 => senseless(),
        8 => vector().prop_map(Op::Trigger),
        1 => any::<u16>().prop_map(Op::Trigger),
        2 => vector().prop_map(Op::Retract),
        1 => any::<bool>().prop_map(Op::BusMaster),
        1 => Just(Op::SaveRestore),
        1 => prop::sample::select(vec![Op::Save, Op::Restore, Op::Pause, Op::Resume, Op::Resume]),
        1 => Just(Op::Flush),
    ]
}

/// Resets are rare: a life after one starts from nothing.
fn run() -> impl Strategy<Value = Event> {
    prop_oneof![60 => op(), 1 => Just(Op::Reset)].prop_map(Event::Run)
}

fn failing_send() -> impl Strategy<Value = Event> {
    (1..3_usize).prop_map(|sends| Event::Fail(Fault::Sends(sends)))
}

fn failing_route() -> impl Strategy<Value = Event> {
    prop_oneof![
        (vector(), kind()).prop_map(|(vector, kind)| Fault::Open(vector, kind)),
        vector().prop_map(Fault::Close),
        (vector(), kind()).prop_map(|(vector, kind)| Fault::Late(vector, kind)),
    ]
    .prop_map(Event::Fail)
}

fn with_every_failure() -> impl Strategy<Value = Event> {
    prop_oneof![12 => run(), 1 => failing_send(), 2 => failing_route()]
}

fn with_failing_sends() -> impl Strategy<Value = Event> {
    prop_oneof![12 => run(), 1 => failing_send()]
}

/// The event that was not as the contract says, and why.
type Difference = (usize, String);

/// A driver brings it up first.
fn live(host: Host, events: &[Event]) -> Result<(), Difference> {
    let (mut rig, mut oracle) = (Rig::new(host), Oracle::new(VECTORS));
    let bring_up = [0, 1, 63, 64, 2047]
        .map(|vector| Op::data_and_control(vector, vector.into(), 0))
        .into_iter()
        .chain([Op::Capability(3, Bytes::new(&[0x80]))]);
    for op in bring_up {
        rig.run(op);
        oracle.run(op);
    }
    for (index, &event) in events.iter().enumerate() {
        step(&mut rig, &mut oracle, event).map_err(|difference| (index, difference))?;
    }
    rig.difference(&oracle).map_or(Ok(()), |difference| Err((events.len(), difference)))
}

fn step(rig: &mut Rig, oracle: &mut Oracle, event: Event) -> Result<(), String> {
    match event {
        Event::Run(op) => {
            let (seen, expected) = (rig.run(op), oracle.run(op));
            if seen != expected {
                return Err(format!("{op:?}: {seen:?}, the contract says {expected:?}"));
            }
            let difference = rig.small_difference(oracle);
            return difference.map_or(Ok(()), |what| Err(format!("after {op:?}: {what}")));
        }
        Event::Fail(Fault::Late(vector, _)) if oracle.live(vector.into()).is_none() => (),
        Event::Fail(fault) => {
            rig.arm(fault);
            oracle.arm(fault);
        }
    }
    Ok(())
}

fn check(host: Host, events: &[Event]) -> Result<(), TestCaseError> {
    live(host, events).map_err(|(_, difference)| TestCaseError::fail(difference))
}

/// One life, drawn step by step. One that fails is made short by chunks.
fn one_life_of(steps: usize, host: fn(u16) -> Host, strategy: impl Strategy<Value = Event>) {
    let mut runner = TestRunner::deterministic();
    let mut draw = || strategy.new_tree(&mut runner).expect("an event").current();
    let events: Vec<_> = (0..steps).map(|_| draw()).collect();
    let failure = |events: &[Event]| live(host(VECTORS), events).err();
    let Some((found, _)) = failure(&events) else { return };
    let events = shortest(&events, |events| failure(events).map(|(step, _)| step));
    panic!("step {found}; in short {events:?}: {:?}", failure(&events));
}

/// How long one life is. A build that is not optimised takes long for it.
const STEPS: usize = if cfg!(debug_assertions) { 5_000 } else { 100_000 };

#[test]
fn one_life_of_100_000_steps_on_the_mock_is_as_the_oracle_says() {
    one_life_of(STEPS, Host::mock, with_every_failure());
}

#[test]
fn one_life_of_100_000_steps_in_signal_mode_is_as_the_oracle_says() {
    one_life_of(STEPS, Host::signal, with_failing_sends());
}

proptest! {
    #![proptest_config(ProptestConfig {
        // `PROPTEST_CASES` asks for more.
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_long_life_on_the_mock_with_every_failure_is_as_the_oracle_says(
        events in prop::collection::vec(with_every_failure(), 100..200)
    ) {
        check(Host::mock(VECTORS), &events)?;
    }

    #[test]
    fn a_long_life_in_signal_mode_with_failing_sends_is_as_the_oracle_says(
        events in prop::collection::vec(with_failing_sends(), 100..200)
    ) {
        check(Host::signal(VECTORS), &events)?;
    }
}
