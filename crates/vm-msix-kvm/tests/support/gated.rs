//! A routing table whose commits can be held up, as a busy host holds them up.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vm_msix::MsiMessage;
use vm_msix_kvm::{Gsi, KvmError, MsiRoute, RouteTable};

use super::taps::Log;
use super::wait::until;

/// The other table, but its commits stop where they are told to.
pub(crate) struct Gated {
    table: Arc<dyn RouteTable>,
    gate: Mutex<Gate>,
    opened: Condvar,
    /// The messages of each commit, written down when it is asked for.
    pub(crate) commits: Log<Vec<MsiMessage>>,
}

#[derive(Default)]
struct Gate {
    closed: Option<Stop>,
    stopped: usize,
}

/// Where a commit is held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// KVM does not have the routes yet.
    Before,
    /// It has, and nobody was told.
    After,
}

impl Gated {
    pub(crate) fn new(table: Arc<dyn RouteTable>) -> Self {
        let (gate, opened) = (Mutex::default(), Condvar::new());
        Self { table, gate, opened, commits: Log::default() }
    }

    /// From now on commits stop here.
    pub(crate) fn hold(&self, stop: Stop) {
        self.gate().closed = Some(stop);
    }

    /// Waits until one has stopped.
    #[track_caller]
    pub(crate) fn wait_until_held(&self) {
        until("a commit to be held up", || self.gate().stopped > 0);
    }

    /// Lets them go on.
    pub(crate) fn let_go(&self) {
        self.gate().closed = None;
        self.opened.notify_all();
    }

    fn pass(&self, here: Stop) {
        let mut gate = self.gate();
        gate.stopped += 1;
        if gate.closed != Some(here) {
            gate.stopped -= 1;
            return;
        }
        let forever = Duration::from_secs(120);
        let waited = self.opened.wait_timeout_while(gate, forever, |gate| gate.closed.is_some());
        let (mut gate, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        gate.stopped -= 1;
        drop(gate);
        assert!(!timeout.timed_out(), "a commit was held up, and never let go");
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RouteTable for Gated {
    fn allocate(&self) -> Result<Gsi, KvmError> {
        self.table.allocate()
    }

    fn set(&self, routes: &[(Gsi, MsiRoute)], failed: &mut dyn FnMut(Gsi, KvmError)) {
        self.commits.push(routes.iter().map(|(_, route)| route.message).collect());
        self.pass(Stop::Before);
        self.table.set(routes, failed);
        self.pass(Stop::After);
    }

    fn release(&self, gsis: &[Gsi]) {
        self.table.release(gsis);
    }
}
