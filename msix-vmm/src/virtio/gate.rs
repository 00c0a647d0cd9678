//! When a device's worker may work, and on what.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::device::lock;

/// Why a worker rests.
#[derive(Clone, Copy)]
pub(super) enum Hold {
    /// The driver has not said DRIVER_OK.
    Driver = 1,
    /// The function may not read and write memory.
    BusMaster = 2,
    /// The device is being saved or restored.
    Paused = 4,
}

/// Between those who kick queues and the worker who serves them.
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// A bit for each queue.
    kicked: u64,
    /// The reasons to rest.
    held: u8,
    busy: bool,
    ended: bool,
}

impl Gate {
    /// A device after power-on.
    pub(super) fn new() -> Self {
        let held = Hold::Driver as u8 | Hold::BusMaster as u8;
        let state = State { kicked: 0, held, busy: false, ended: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Has a queue served, as soon as that is allowed.
    pub(super) fn kick(&self, queue: usize) {
        let bit = u32::try_from(queue).ok().and_then(|queue| 1_u64.checked_shl(queue));
        lock(&self.state).kicked |= bit.unwrap_or(0);
        self.changed.notify_all();
    }

    /// Has every queue served.
    pub(super) fn kick_all(&self) {
        lock(&self.state).kicked = u64::MAX;
        self.changed.notify_all();
    }

    /// Adds a reason to rest, and waits until the worker does.
    pub(super) fn hold(&self, reason: Hold) {
        let mut state = lock(&self.state);
        state.held |= reason as u8;
        while state.busy {
            state = self.wait(state);
        }
    }

    /// Takes a reason away.
    pub(super) fn release(&self, reason: Hold) {
        lock(&self.state).held &= !(reason as u8);
        self.changed.notify_all();
    }

    /// Lets the worker end.
    pub(super) fn end(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }

    /// The worker asks for work, when it is done with what it had: the kicked queues, or `None` at the end.
    pub(super) fn next(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        state.busy = false;
        self.changed.notify_all();
        loop {
            if state.ended {
                return None;
            }
            if state.held == 0 && state.kicked != 0 {
                state.busy = true;
                return Some(std::mem::take(&mut state.kicked));
            }
            state = self.wait(state);
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Gate {
    /// Whether there is nothing that the worker may do.
    pub(super) fn is_resting(&self) -> bool {
        let state = lock(&self.state);
        !state.busy && (state.kicked == 0 || state.held != 0)
    }

    /// Whether the device is paused, or about to be.
    pub(super) fn is_paused(&self) -> bool {
        lock(&self.state).held & Hold::Paused as u8 != 0
    }
}
