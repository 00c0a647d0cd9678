//! Two functions with 2048 vectors each, and lives of any length, drawn step by step.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use vm_msix_kvm::model::Call;

use super::alone::WorkItems;
use super::life::{live, possible_steps};
use super::moves::OPEN;
use super::ops::{Commits, Control, Message, Op, Place, Setting, Step};
use super::shrink::shortest;

const VECTORS: u16 = 2048;
/// Fewer than there are vectors that get descriptors.
const GSIS: u32 = 8;
const STEPS: usize = 100_000;

/// Few, so that operations meet; the edges of QWORDs and of the table among them.
fn busy() -> impl Strategy<Value = Place> {
    (0..2_u8, prop::sample::select(vec![0, 1, 63, 64, 127, 1024, 2046, 2047]))
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![8 => busy(), 1 => (0..2_u8, 0..VECTORS)]
}

fn control() -> impl Strategy<Value = Control> {
    prop_oneof![
        4 => Just(OPEN),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(enabled, masked)| Control { enabled, masked }),
    ]
}

/// Resets are rare: a life after one starts from nothing.
fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        40 => place().prop_map(Op::Trigger),
        40 => busy().prop_map(Op::Write),
        30 => place().prop_map(Op::Unmask),
        15 => place().prop_map(Op::Mask),
        15 => place().prop_map(Op::Rewrite),
        6 => place().prop_map(Op::Retract),
        20 => busy().prop_map(Op::Promote),
        8 => busy().prop_map(Op::Demote),
        4 => busy().prop_map(Op::Adopt),
        4 => (0..2_u8).prop_map(Op::Swap),
        8 => (0..2_u8, control()).prop_map(|(function, control)| Op::Control(function, control)),
        4 => (0..2_u8, prop::bool::weighted(0.8)).prop_map(|(function, may)| Op::BusMaster(function, may)),
        4 => (0..2_u8).prop_map(Op::Flush),
        2 => (0..2_u8).prop_map(Op::SaveRestore),
        1 => (0..2_u8).prop_map(Op::Reset),
        20 => Just(Op::RunPending),
    ]
}

fn fault() -> impl Strategy<Value = (Call, Message)> {
    let call = prop::sample::select(vec![Call::Route, Call::Assign, Call::Deassign, Call::Signal]);
    (call, busy(), any::<bool>())
        .prop_map(|(call, place, programming)| (call, Message { place, programming }))
}

/// Many failures are drawn, as few strike.
fn step() -> impl Strategy<Value = Step> {
    let faults = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(fault(), 16)];
    (op(), faults).prop_map(|(op, faults)| Step { op, faults })
}

fn expect_agreement(commits: Commits, work_items: WorkItems) {
    let (mut runner, strategy) = (TestRunner::deterministic(), step());
    let mut draw = || strategy.new_tree(&mut runner).expect("a step").current();
    let steps: Vec<_> = (0..STEPS).map(|_| draw()).collect();
    let setting = Setting { commits, gsis: GSIS, vectors: [VECTORS; 2] };
    let life = |steps: &[Step]| live(setting, work_items, steps);
    let Some(difference) = life(&steps) else { return };
    let found = difference.step;
    let steps = shortest(&steps, |steps| life(steps).map(|difference| difference.step));
    let steps = possible_steps(setting, &steps);
    panic!("step {found}; in short {steps:?}: {:?}", life(&steps).unwrap_or(difference).what);
}

#[test]
fn a_life_of_100_000_steps_beside_a_loop_that_commits_is_as_the_oracle_says() {
    expect_agreement(Commits::Loop, WorkItems::Late);
}

#[test]
fn a_life_of_100_000_steps_with_commits_at_once_is_as_the_oracle_says() {
    expect_agreement(Commits::AtOnce, WorkItems::AtOnce);
}
