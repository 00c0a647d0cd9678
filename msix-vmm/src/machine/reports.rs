//! What the CPUs report, and the one place where threads wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{CpuStop, MachineError};

/// Interrupts of one vector on one CPU that no table entry accounts for.
///
/// A device that sends a message the guest never wrote shows up here: spurious is never silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UnexpectedInterrupt {
    /// The CPU that took it.
    pub(crate) cpu: usize,
    /// The IDT vector.
    pub(crate) vector: u8,
    /// How often.
    pub(crate) count: u64,
}

/// Where CPUs report and threads wait.
///
/// The counts themselves live elsewhere (in the guest's memory, or in atomics); a report says
/// only that it is worth looking again. Whoever changes something that a waiter's condition reads
/// changes it *before* the report: the lock then makes the waiter see it.
#[derive(Debug, Default)]
pub(super) struct Reports {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: Option<(usize, CpuStop)>,
    ended: BTreeSet<usize>,
    unexpected: BTreeMap<(usize, u8), u64>,
}

impl Reports {
    /// Something changed: everybody who waits looks again.
    pub(super) fn notify(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    /// A CPU runs no more. The first such report is the one that every later call returns.
    pub(super) fn stopped(&self, cpu: usize, reason: CpuStop) {
        self.lock().stopped.get_or_insert((cpu, reason));
        self.changed.notify_all();
    }

    /// A CPU's thread is at its end, for this reason.
    pub(super) fn ended(&self, cpu: usize, reason: CpuStop) {
        self.lock().ended.insert(cpu);
        self.stopped(cpu, reason);
    }

    /// Whether a CPU's thread is at its end, now or before `timeout` passes.
    pub(super) fn wait_for_end(&self, cpu: usize, timeout: Duration) -> bool {
        let runs = |state: &mut State| !state.ended.contains(&cpu);
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, runs);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// A CPU took an interrupt that no entry accounts for.
    pub(super) fn unexpected(&self, cpu: usize, vector: u8) {
        *self.lock().unexpected.entry((cpu, vector)).or_insert(0) += 1;
        self.changed.notify_all();
    }

    /// All interrupts that no entry accounts for.
    pub(super) fn unexpected_interrupts(&self) -> Vec<UnexpectedInterrupt> {
        let of = |(&(cpu, vector), &count)| UnexpectedInterrupt { cpu, vector, count };
        self.lock().unexpected.iter().map(of).collect()
    }

    /// Forgets the unexpected interrupts. A stopped CPU stays stopped.
    pub(super) fn reset(&self) {
        self.lock().unexpected.clear();
    }

    /// An error if a CPU runs no more.
    pub(super) fn check(&self) -> Result<(), MachineError> {
        Self::check_state(&self.lock())
    }

    /// Blocks until `condition`; `Ok(false)` if `timeout` passed first, an error if a CPU stopped.
    pub(super) fn wait_until(
        &self,
        timeout: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<bool, MachineError> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if condition() {
                return Ok(true);
            }
            Self::check_state(&state)?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn check_state(state: &State) -> Result<(), MachineError> {
        match &state.stopped {
            Some((cpu, reason)) => {
                Err(MachineError::CpuStopped { cpu: *cpu, reason: reason.clone() })
            }
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
