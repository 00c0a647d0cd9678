//! One commit of the routing table, from the queue to the vectors.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::KvmError;
use crate::function::Function;
use crate::irqfd::{IrqfdVector, Ticket};
use crate::queue::{Openings, Queue};
use crate::route_table::{Gsi, MsiRoute, RouteTable};
use crate::sys::{Instant, Mutex, MutexGuard};

/// What was queued, on its way. Whoever has it has `running`.
pub(crate) struct Commit<'a> {
    table: &'a dyn RouteTable,
    queue: &'a Mutex<Queue>,
    due: VecDeque<Due>,
}

/// A vector whose ticket was good when it was called.
struct Due {
    function: Arc<Function>,
    irqfd: Arc<IrqfdVector>,
    ticket: Ticket,
    route: (Gsi, MsiRoute),
    refused: Option<KvmError>,
}

impl<'a> Commit<'a> {
    /// Calls the vectors. From here to the end of the commit, no GSI is given back.
    pub(crate) fn begin(
        table: &'a dyn RouteTable,
        queue: &'a Mutex<Queue>,
        openings: Vec<Openings>,
    ) -> Self {
        let mut commit = Self { table, queue, due: VecDeque::new() };
        commit.queue().begin_commit();
        for Openings { function, irqfds } in openings {
            let Some(function) = function.upgrade() else { continue };
            commit.due.extend(irqfds.into_iter().filter_map(|irqfd| Due::call(&function, irqfd)));
        }
        commit
    }

    /// Commits, with no vector's lock. Tells how long it took.
    pub(crate) fn set_routes(&mut self) -> Duration {
        let routes: Vec<_> = self.due.iter().map(|due| due.route).collect();
        if routes.is_empty() {
            return Duration::ZERO;
        }
        let mut refused = BTreeMap::new();
        let begin = Instant::now();
        self.table.set(&routes, &mut |gsi, error| {
            refused.insert(gsi, error);
        });
        let took = begin.elapsed();
        for due in &mut self.due {
            due.refused = refused.remove(&due.route.0);
        }
        took
    }

    /// Attaches the vectors whose tickets are still good.
    pub(crate) fn finish(mut self) {
        while let Some(due) = self.due.pop_front() {
            due.finish();
        }
    }

    fn queue(&self) -> MutexGuard<'a, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        // A table or a translation has panicked. The vectors that are left are told, and nobody's code is called.
        for due in self.due.drain(..) {
            due.fail();
        }
        self.queue().end_commit();
        if thread::panicking() {
            // What was given back meanwhile goes with what is given back next.
            return;
        }
        let returned = self.queue().give_back(Vec::new());
        if !returned.is_empty() {
            self.table.release(&returned);
        }
    }
}

impl Due {
    fn call(function: &Arc<Function>, irqfd: Arc<IrqfdVector>) -> Option<Self> {
        let (ticket, route) = irqfd.lock().call(function)?;
        Some(Self { function: Arc::clone(function), irqfd, ticket, route, refused: None })
    }

    fn finish(self) {
        let committed = self.refused.map_or(Ok(()), Err);
        self.irqfd.lock().finish(&self.function, self.ticket, committed);
    }

    fn fail(self) {
        let error = KvmError::call("a commit", io::Error::other("panicked"));
        self.irqfd.lock().finish(&self.function, self.ticket, Err(error));
    }
}
