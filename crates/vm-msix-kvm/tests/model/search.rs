//! Every sequence of operations to a depth, with failures of KVM in every place.
//!
//! A sequence is judged after its last step; as every prefix of a sequence is a sequence too, that judges every step. Failures
//! are tried where the oracle says that KVM is asked. Not tried is what goes on after a step that, by the contract, does
//! nothing, and what differs from another sequence only in the names of two functions of one size.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use vm_msix_kvm::model::Call;

use super::alone::{WorkItems, alone};
use super::moves::{Start, alphabet, prologue};
use super::ops::{Op, Seen, Setting, Step};
use super::oracle::Oracle;
use super::rig::Rig;

#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) setting: Setting,
    pub(crate) start: Start,
    pub(crate) work_items: WorkItems,
    pub(crate) depth: usize,
    /// How many failures may strike in one sequence.
    pub(crate) budget: usize,
}

/// How a search goes.
#[derive(Default)]
struct Progress {
    agree: AtomicU64,
    /// Somebody has found a difference: the others stop.
    failed: AtomicBool,
}

impl Search {
    pub(crate) fn run(self) {
        let mut oracle = Oracle::new(self.setting);
        let prologue = prologue(self.start, &oracle);
        for &op in &prologue {
            oracle.run(&op.into());
        }
        let (progress, next, first) = (Progress::default(), AtomicUsize::new(0), alphabet(&oracle));
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while let Some(&op) = first.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let mut walk = Walk {
                            search: &self,
                            progress: &progress,
                            prologue: prologue.len(),
                            path: prologue.iter().map(|&op| op.into()).collect(),
                        };
                        walk.go(&oracle, op, self.budget);
                    }
                });
            }
        });
        println!("{self:?}: {} sequences agree", progress.agree.load(Ordering::Relaxed));
    }
}

struct Walk<'a> {
    search: &'a Search,
    progress: &'a Progress,
    prologue: usize,
    path: Vec<Step>,
}

impl Walk<'_> {
    /// Goes on with this operation: without a failure, and with every one that fits the budget.
    fn go(&mut self, oracle: &Oracle, op: Op, budget: usize) {
        if self.is_renamed(op) || self.progress.failed.load(Ordering::Relaxed) {
            return;
        }
        let mut asked = self.visit(oracle, op.into(), budget);
        // When a function goes, nobody is left to try a deassign again.
        asked.retain(|&(call, _)| !(matches!(op, Op::End(_)) && call == Call::Deassign));
        asked.sort_unstable();
        asked.dedup();
        for (index, &fault) in asked.iter().enumerate().take_while(|_| budget > 0) {
            self.visit(oracle, Step { op, faults: vec![fault] }, budget - 1);
            for &other in asked[index + 1..].iter().take_while(|_| budget > 1) {
                self.visit(oracle, Step { op, faults: vec![fault, other] }, budget - 2);
            }
        }
    }

    /// Judges the sequence that ends in this step, then all that continue it. Tells what KVM was asked.
    fn visit(
        &mut self,
        before: &Oracle,
        step: Step,
        budget: usize,
    ) -> Vec<(Call, super::ops::Message)> {
        let mut after = before.clone();
        let (expected, asked) = after.run(&step);
        self.path.push(step);
        let is_idle = after == *before && expected.interrupts.is_empty();
        let is_real = self.judge(expected);
        if self.path.len() - self.prologue < self.search.depth && is_real && !is_idle {
            for op in alphabet(&after) {
                self.go(&after, op, budget);
            }
        }
        self.path.pop();
        asked
    }

    /// The first function that a sequence names is number 0: with the names exchanged it is another sequence.
    fn is_renamed(&self, op: Op) -> bool {
        let [one, other] = self.search.setting.vectors;
        let is_named = |step: &Step| step.op.function().is_some();
        one == other && op.function() == Some(1) && !self.path[self.prologue..].iter().any(is_named)
    }

    /// Whether it can happen.
    fn judge(&self, expected: Seen) -> bool {
        let (setting, path) = (self.search.setting, self.path.clone());
        let verdict = alone(self.search.work_items, move || judge(setting, &path, &expected));
        if let Verdict::Wrong(difference) = verdict {
            self.progress.failed.store(true, Ordering::Relaxed);
            panic!("{:?}, {:?}: {difference}", self.search, &self.path[self.prologue..]);
        }
        let is_real = verdict == Verdict::AsExpected;
        self.progress.agree.fetch_add(is_real.into(), Ordering::Relaxed);
        is_real
    }
}

/// Of a sequence.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    AsExpected,
    /// KVM has no reason for a failure in it.
    Impossible,
    /// In words.
    Wrong(String),
}

fn judge(setting: Setting, path: &[Step], expected: &Seen) -> Verdict {
    let mut rig = Rig::new(setting);
    let Some((last, before)) = path.split_last() else { return Verdict::Impossible };
    for step in before {
        rig.act(step);
    }
    rig.take_interrupts();
    if !last.faults.iter().all(|&fault| rig.can_fail(fault)) {
        return Verdict::Impossible;
    }
    let seen = rig.run(last);
    if seen != *expected {
        return Verdict::Wrong(format!("{seen:x?}, the contract says {expected:x?}"));
    }
    rig.end().map_or(Verdict::AsExpected, Verdict::Wrong)
}
