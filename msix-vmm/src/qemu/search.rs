//! The search for a difference: random sequences, and the shortest one that shows it.

use std::cell::RefCell;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::allowed::Met;
use super::compare::{Comparison, Failure};
use super::error::QemuError;
use super::op::Op;
use super::oracle::Oracle;

/// How often a sequence may be shortened.
const SHRINKS: u32 = 20_000;

/// What a search has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Operations that were compared.
    pub(super) operations: u64,
    /// Sequences that they were in.
    pub(super) sequences: u64,
    /// Messages that were seen on both sides.
    pub(super) messages: u64,
    /// The allowed differences.
    pub(super) met: Met,
    /// The shortest sequence that shows another one.
    pub(super) difference: Option<Minimal>,
}

/// A sequence of which nothing can be left out.
#[derive(Debug)]
pub(super) struct Minimal {
    pub(super) ops: Vec<Op>,
    /// What differs after the last of them.
    pub(super) what: String,
}

/// Compares so many operations, or until there is a difference.
pub(super) fn search<O: Oracle>(
    comparison: Comparison<'_, O>,
    sequences: &impl Strategy<Value = Vec<Op>>,
    operations: u64,
    seed: u64,
) -> Result<Found, QemuError> {
    let config =
        Config { max_shrink_iters: SHRINKS, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(seed.to_le_bytes()) {
        *to = from;
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);

    let mut found = Found::default();
    let comparison = RefCell::new(comparison);
    let broken = RefCell::new(None);
    let test = |ops: Vec<Op>| match comparison.borrow_mut().sequence(&ops) {
        Ok(()) => Ok(()),
        Err(Failure::Differs(difference)) => Err(TestCaseError::fail(difference.to_string())),
        // No shorter sequence would say more.
        Err(Failure::Broken(error)) => {
            broken.borrow_mut().get_or_insert(error);
            Ok(())
        }
    };
    while found.operations < operations && found.difference.is_none() {
        let tree = sequences
            .new_tree(&mut runner)
            .map_err(|reason| QemuError::Generate(reason.to_string()))?;
        found.operations += tree.current().len() as u64;
        found.sequences += 1;
        let result = runner.run_one(tree, test);
        if let Some(error) = broken.take() {
            return Err(error);
        }
        found.difference = match result {
            Ok(_) => None,
            Err(TestError::Fail(what, ops)) => {
                let shrunk = Minimal { ops, what: what.to_string() };
                Some(shortened(&mut comparison.borrow_mut(), shrunk)?)
            }
            Err(TestError::Abort(reason)) => return Err(QemuError::Generate(reason.to_string())),
        };
    }
    let comparison = comparison.into_inner();
    (found.met, found.messages) = (comparison.met, comparison.messages);
    Ok(found)
}

/// Leaves out what can be left out. Shrinking leaves out first and makes simpler then, by which more operations can
/// become needless.
fn shortened<O: Oracle>(
    comparison: &mut Comparison<'_, O>,
    mut minimal: Minimal,
) -> Result<Minimal, QemuError> {
    for index in (0..minimal.ops.len()).rev() {
        let mut ops = minimal.ops.clone();
        ops.remove(index);
        match comparison.sequence(&ops) {
            Ok(()) => {}
            Err(Failure::Differs(difference)) => {
                minimal = Minimal { ops, what: difference.to_string() };
            }
            Err(Failure::Broken(error)) => return Err(error),
        }
    }
    Ok(minimal)
}
