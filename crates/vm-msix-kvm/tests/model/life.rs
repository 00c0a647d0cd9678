//! A life: steps in a row, each compared with the oracle.

use super::alone::{WorkItems, alone};
use super::ops::{Setting, Step};
use super::oracle::Oracle;
use super::rig::Rig;

/// The step that was not as the contract says, and what was seen.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) step: usize,
    pub(crate) what: String,
}

/// Runs these. A step that has no sense where it comes is left out, and so is a failure of what KVM is not asked there.
pub(crate) fn live(setting: Setting, work_items: WorkItems, steps: &[Step]) -> Option<Difference> {
    let steps = steps.to_vec();
    alone(work_items, move || {
        let (mut rig, mut oracle) = (Rig::new(setting), Oracle::new(setting));
        for (index, step) in steps.iter().enumerate() {
            if !oracle.can(step.op) {
                continue;
            }
            let mut step = possible(&oracle, step);
            step.faults.retain(|&fault| rig.can_fail(fault));
            let (expected, _) = oracle.run(&step);
            let seen = rig.run(&step);
            if seen != expected {
                let what = format!("{step:?}: {seen:x?}, the contract says {expected:x?}");
                return Some(Difference { step: index, what });
            }
        }
        rig.end().map(|what| Difference { step: steps.len(), what })
    })
}

/// What of these steps is run.
pub(crate) fn possible_steps(setting: Setting, steps: &[Step]) -> Vec<Step> {
    let mut oracle = Oracle::new(setting);
    let mut possible_steps = Vec::new();
    for step in steps {
        if oracle.can(step.op) {
            let step = possible(&oracle, step);
            oracle.run(&step);
            possible_steps.push(step);
        }
    }
    possible_steps
}

/// The step with those of its failures that can strike.
fn possible(oracle: &Oracle, step: &Step) -> Step {
    let mut step = step.clone();
    if !step.faults.is_empty() {
        let (_, asked) = oracle.clone().run(&step.op.into());
        step.faults.retain(|fault| asked.contains(fault));
    }
    step
}
