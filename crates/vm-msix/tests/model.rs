//! Every short life of a function with two vectors: all sequences of register writes, signals, resets, restores
//! and flushes, with failures of the backend in every place, compared step by step with an oracle that was
//! written from the contract and shares no code with the crate.
//!
//! A sequence is checked after its last step; as every prefix of a sequence is a sequence too, that checks every
//! step. Failures are tried where the oracle says that they strike.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use self::support::host::Host;
use self::support::moves::{Failures, Start, alphabet, alphabet_of_moves};
use self::support::moves::{candidates, prologue, vector_of};
use self::support::ops::{Fault, Op, Seen};
use self::support::oracle::Oracle;
use self::support::rig::Rig;

#[derive(Clone, Debug)]
struct Step {
    faults: Vec<Fault>,
    op: Op,
}

/// Which sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breadth {
    /// All of them.
    Every,
    /// None that goes on after a step which, by the contract, does nothing; none that differs from another one
    /// only in the names of the two vectors.
    Essential,
}

#[derive(Debug)]
struct Search {
    host: fn(u16) -> Host,
    start: Start,
    alphabet: fn(&Oracle) -> Vec<Op>,
    depth: usize,
    failures: Failures,
    /// How many may strike in one sequence.
    budget: usize,
    breadth: Breadth,
    checked: AtomicU64,
    /// Somebody has found a difference: the others stop.
    failed: AtomicBool,
}

/// The first vector that the sequence names is vector 1: with the names exchanged it is another sequence.
fn is_renamed(path: &[Step], op: &Op) -> bool {
    vector_of(op) == Some(1) && path.iter().all(|step| vector_of(&step.op).is_none())
}

impl Search {
    fn run(&self) {
        let mut oracle = Oracle::new(2);
        for op in prologue(self.start) {
            oracle.run(op);
        }
        let first = (self.alphabet)(&oracle);
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while let Some(&op) = first.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.try_with_faults(&oracle, &mut Vec::new(), op, self.budget);
                    }
                });
            }
        });
        println!(
            "{:?} {:?} sequences of {} steps, failures {:?} up to {}: {} agree",
            self.breadth,
            self.start,
            self.depth,
            self.failures,
            self.budget,
            self.checked.load(Ordering::Relaxed)
        );
    }

    /// Goes on with this operation, without failures and with all that fit the budget.
    fn try_with_faults(&self, oracle: &Oracle, path: &mut Vec<Step>, op: Op, budget: usize) {
        let mut base = oracle.clone();
        let seen = base.run(op);
        self.visit(oracle, (base, &seen), path, Step { faults: vec![], op }, budget);
        if budget == 0 {
            return;
        }
        let faults = candidates(oracle, &seen, self.failures);
        for (index, &fault) in faults.iter().enumerate() {
            self.try_faults(oracle, path, Step { faults: vec![fault], op }, budget - 1);
            if budget > 1 {
                for &other in &faults[index + 1..] {
                    let step = Step { faults: vec![fault, other], op };
                    self.try_faults(oracle, path, step, budget - 2);
                }
            }
        }
    }

    /// Goes on with a step if all of its failures strike.
    fn try_faults(&self, oracle: &Oracle, path: &mut Vec<Step>, step: Step, budget: usize) {
        let mut failed = oracle.clone();
        for &fault in &step.faults {
            if let Fault::Late(vector, _) = fault
                && failed.live(vector.into()).is_none()
            {
                return;
            }
            failed.arm(fault);
        }
        let seen = failed.run(step.op);
        if failed.faults_are_spent() {
            self.visit(oracle, (failed, &seen), path, step, budget);
        }
    }

    /// Checks the sequence that ends in this step, then all that continue it.
    fn visit(
        &self,
        before: &Oracle,
        (after, seen): (Oracle, &Seen),
        path: &mut Vec<Step>,
        step: Step,
        budget: usize,
    ) {
        let renamed = self.breadth == Breadth::Essential && is_renamed(path, &step.op);
        if renamed || self.failed.load(Ordering::Relaxed) {
            return;
        }
        path.push(step);
        self.check(path, &after, seen);
        self.checked.fetch_add(1, Ordering::Relaxed);
        let idle = after.is_as(before) && seen.batches.is_empty() && seen.sent.is_empty();
        let stop = idle && self.breadth == Breadth::Essential;
        if path.len() < self.depth && !stop {
            for op in (self.alphabet)(&after) {
                self.try_with_faults(&after, path, op, budget);
            }
        }
        path.pop();
    }

    fn check(&self, path: &[Step], oracle: &Oracle, expected: &Seen) {
        let mut rig = Rig::new((self.host)(2));
        for op in prologue(self.start) {
            rig.run(op);
        }
        let mut seen = None;
        for Step { faults, op } in path {
            faults.iter().for_each(|&fault| rig.arm(fault));
            seen = Some(rig.run(*op));
        }
        let difference = match seen {
            Some(seen) if seen != *expected => {
                Some(format!("{seen:02x?}, the contract says {expected:02x?}"))
            }
            _ => rig.difference(oracle),
        };
        if let Some(difference) = difference {
            self.failed.store(true, Ordering::Relaxed);
            panic!("{:?}, {path:#02x?}: {difference}", self.start);
        }
    }
}

fn search(host: fn(u16) -> Host, start: Start, depth: usize, failures: Failures) -> Search {
    Search {
        host,
        start,
        alphabet,
        depth,
        failures,
        budget: 2,
        breadth: Breadth::Every,
        checked: AtomicU64::new(0),
        failed: AtomicBool::new(false),
    }
}

#[test]
fn every_sequence_from_reset_with_two_failures_on_the_mock() {
    search(Host::mock, Start::Fresh, 4, Failures::All).run();
}

#[test]
fn every_sequence_from_open_vectors_with_a_failure_on_the_mock() {
    let from_open = search(Host::mock, Start::Up, 3, Failures::All);
    Search { budget: 1, ..from_open }.run();
}

#[test]
fn every_short_sequence_from_open_vectors_with_two_failures_on_the_mock() {
    search(Host::mock, Start::Up, 2, Failures::All).run();
}

#[test]
fn every_long_sequence_from_reset_with_a_failure_on_the_mock() {
    let from_reset = search(Host::mock, Start::Fresh, 5, Failures::All);
    Search { breadth: Breadth::Essential, budget: 1, ..from_reset }.run();
}

#[test]
fn every_sequence_with_pauses_and_states_of_before_on_the_mock() {
    for (start, depth) in [(Start::Fresh, 4), (Start::Up, 3)] {
        let with_moves = search(Host::mock, start, depth, Failures::All);
        let alphabet = alphabet_of_moves;
        Search { breadth: Breadth::Essential, budget: 1, alphabet, ..with_moves }.run();
    }
}

#[test]
fn every_sequence_from_reset_with_failing_sends_in_signal_mode() {
    search(Host::signal, Start::Fresh, 4, Failures::OfSends).run();
}

#[test]
fn every_long_sequence_from_reset_with_failing_sends_in_signal_mode() {
    let from_reset = search(Host::signal, Start::Fresh, 5, Failures::OfSends);
    Search { breadth: Breadth::Essential, ..from_reset }.run();
}

#[test]
fn every_sequence_from_open_vectors_with_failing_sends_in_signal_mode() {
    search(Host::signal, Start::Up, 3, Failures::OfSends).run();
}
