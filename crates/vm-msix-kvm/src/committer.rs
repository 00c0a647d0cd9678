//! Commits routes in groups, behind the backs of the vCPUs.
//!
//! KVM replaces its routing table as a whole, and waits for a grace period when it does: a commit takes from 10 microseconds
//! to half a millisecond. So a vCPU that unmasks a vector does not wait for one. What it wants is queued; while a commit runs, more
//! gathers; and the next commit takes it all.
//!
//! # A queued opening
//!
//! 1. The control path, with the vector's lock: the vector gets a ticket, and the ticket joins the queue.
//! 2. The committer takes the queue, and asks each vector, with its lock, what route its ticket is for. Void tickets drop out.
//! 3. It commits, with no vector's lock: closes go on meanwhile, and void tickets.
//! 4. It finishes each vector whose ticket is still good, with its lock: the eventfd is assigned, and the latch opens.
//!
//! Signals that come in the meantime wait in the eventfd and in the latch, and are delivered by step 4.
//!
//! # Locks
//!
//! `running` makes commits one at a time, and comes before everything else here; a vCPU takes it in immediate mode and in
//! a flush only. `queue` is held for a push or a take.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use vm_msix::VectorIndex;

use crate::error::KvmError;
use crate::eventfd::Notifier;
use crate::function::Function;
use crate::irqfd::{IrqfdVector, Ticket};
use crate::mass_close::MassClose;
use crate::poller::{Patience, Poller, Token};
use crate::route_table::{Gsi, MsiRoute, RouteTable};
use crate::sys::thread::{self, JoinHandle};
use crate::sys::{AtomicBool, Mutex, MutexGuard};

/// Commits the routes of a VM's functions. Make one per VM and hand it to each [`KvmMsi`](crate::KvmMsi).
///
/// Three ways to run it:
///
/// - [`spawn`](Self::spawn): a thread of its own. The vCPU that unmasks a vector never waits for a commit.
/// - [`polled`](Self::polled): the VMM's event loop waits for its [`descriptor`](Self::descriptor) to be readable, and calls
///   [`run_pending`](Self::run_pending). The same, without a thread.
/// - [`immediate`](Self::immediate): whoever changes a route commits it. No thread and nothing to poll, but a commit for each
///   unmask, which the vCPU waits for.
///
/// Signal mode needs none of it. Only functions keep it alive, besides its maker; the thread ends with the last of them.
pub struct Committer {
    work: Arc<Work>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread shares with the functions.
struct Work {
    table: Arc<dyn RouteTable>,
    queue: Mutex<Queue>,
    running: Mutex<()>,
    /// Whoever commits later than at once, and polls; `None` if nobody does.
    poller: Option<Poller>,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Queue {
    openings: Vec<Opening>,
    /// Batches that are being gathered.
    batches: usize,
    /// Whoever commits knows that there is something to do.
    kicked: bool,
    /// Closes that go on, and are faster with help.
    closes: Vec<Arc<MassClose>>,
}

/// A vector that opens when its route has been committed.
pub(crate) struct Opening {
    pub(crate) function: Weak<Function>,
    pub(crate) irqfd: Arc<IrqfdVector>,
    pub(crate) ticket: Ticket,
}

/// Gathers the openings of many functions for one commit; made by [`Committer::batch`].
#[must_use = "openings are gathered for as long as it lives"]
pub struct Batch<'a> {
    committer: &'a Committer,
}

impl Committer {
    /// Commits on a thread of its own.
    ///
    /// When many vectors close at once, the thread starts a few more for as long as that takes; if it cannot, it is slower.
    ///
    /// # Errors
    ///
    /// [`KvmError::Call`] if there is no descriptor or no thread to be had.
    pub fn spawn(table: Arc<dyn RouteTable>) -> Result<Arc<Self>, KvmError> {
        let work = Work::new(table, Some(Poller::new()?));
        let thread = thread::Builder::new()
            .name("msix-commit".into())
            .spawn({
                let work = Arc::clone(&work);
                move || work.run_until_stopped()
            })
            .map_err(|source| KvmError::call("clone", source))?;
        Ok(Arc::new(Self { work, thread: Some(thread) }))
    }

    /// Commits when the VMM calls [`run_pending`](Self::run_pending), which it does when the descriptor is readable.
    ///
    /// # Errors
    ///
    /// [`KvmError::Call`] if there is no descriptor to be had.
    pub fn polled(table: Arc<dyn RouteTable>) -> Result<Arc<Self>, KvmError> {
        Ok(Arc::new(Self { work: Work::new(table, Some(Poller::new()?)), thread: None }))
    }

    /// Commits at once, on the thread that changes a route.
    ///
    /// With nobody to poll, a vector that finds no GSI cannot have a descriptor.
    pub fn immediate(table: Arc<dyn RouteTable>) -> Arc<Self> {
        Arc::new(Self { work: Work::new(table, None), thread: None })
    }

    /// Does what is to be done, without waiting for more: commits what is queued, and serves the descriptors for which there
    /// is no GSI. For [`polled`](Self::polled) committers; harmless to others.
    pub fn run_pending(&self) {
        self.work.run_pending(Patience::None);
    }

    /// The descriptor to wait for: readable when there is something to do. `None` if there is never anything, as
    /// with an [`immediate`](Self::immediate) committer.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.work.poller.as_ref().map(AsFd::as_fd)
    }

    /// Commits what is queued, also what a batch is gathering. When it returns, every vector that was queued is open
    /// or has failed.
    pub fn flush(&self) {
        self.work.run(Work::take_all);
    }

    /// Gathers: as long as the batch lives, nothing is committed, and when the last one is dropped, all of it is, at once.
    ///
    /// For a VMM that resumes or restores many functions. Closing does not wait for it.
    pub fn batch(&self) -> Batch<'_> {
        self.work.queue().batches += 1;
        Batch { committer: self }
    }

    /// Lets the thread, if there is one, help with a close.
    pub(crate) fn call_for_help(&self, close: &Arc<MassClose>) {
        if let (Some(_), Some(poller)) = (&self.thread, &self.work.poller) {
            self.work.queue().closes.push(Arc::clone(close));
            poller.kick();
        }
    }

    pub(crate) fn table(&self) -> &dyn RouteTable {
        &*self.work.table
    }

    /// Queues openings, or carries them out if nobody else does. The caller has no lock.
    pub(crate) fn enqueue(&self, openings: Vec<Opening>) {
        if !openings.is_empty() {
            self.work.queue().openings.extend(openings);
            self.work.begin();
        }
    }

    /// Whether commits come later than what they are for.
    pub(crate) fn defers(&self) -> bool {
        self.work.poller.is_some()
    }

    /// Whether a vector without a GSI is looked after.
    pub(crate) fn can_poll(&self) -> bool {
        self.work.poller.is_some()
    }

    pub(crate) fn start_polling(
        &self,
        function: &Function,
        vector: VectorIndex,
        notifier: &Notifier,
    ) -> Result<Token, KvmError> {
        // Asked only where there is one.
        let poller = self.work.poller.as_ref().ok_or(KvmError::GsisExhausted { limit: 0 })?;
        poller.add(function.this(), vector, notifier)
    }

    pub(crate) fn stop_polling(&self, token: Token, notifier: &Notifier) {
        if let Some(poller) = &self.work.poller {
            poller.remove(token, notifier);
        }
    }
}

impl Work {
    fn new(table: Arc<dyn RouteTable>, poller: Option<Poller>) -> Arc<Self> {
        Arc::new(Self {
            table,
            queue: Mutex::default(),
            running: Mutex::default(),
            poller,
            stopped: AtomicBool::new(false),
        })
    }

    fn run_until_stopped(&self) {
        while !self.stopped.load(Ordering::Acquire) {
            let closes = std::mem::take(&mut self.queue().closes);
            // Let go of before the wait: each holds its function, which may be the last to keep this thread alive.
            closes.into_iter().for_each(|close| close.help());
            self.run_pending(Patience::Forever);
        }
    }

    fn run_pending(&self, patience: Patience) {
        if let Some(poller) = &self.poller {
            poller.serve(patience);
        }
        self.run(Self::take_gathered);
    }

    /// Lets what is queued begin, unless it is being gathered.
    fn begin(&self) {
        let Some(poller) = &self.poller else {
            return self.run(Self::take_gathered);
        };
        let mut queue = self.queue();
        if queue.batches == 0 && !std::mem::replace(&mut queue.kicked, true) {
            poller.kick();
        }
    }

    /// What is queued, if no batch is being gathered.
    fn take_gathered(&self) -> Vec<Opening> {
        let mut queue = self.queue();
        if queue.batches > 0 {
            // The end of the batch kicks anew.
            queue.kicked = false;
            return Vec::new();
        }
        queue.take()
    }

    fn take_all(&self) -> Vec<Opening> {
        self.queue().take()
    }

    /// One commit for what is queued. What others have begun is done too when it returns.
    fn run(&self, take: fn(&Self) -> Vec<Opening>) {
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let due: Vec<_> = take(self).into_iter().filter_map(Due::new).collect();
        if due.is_empty() {
            return;
        }
        let routes: Vec<_> = due.iter().map(|due| due.route).collect();
        let mut refused = BTreeMap::new();
        self.table.set(&routes, &mut |gsi, error| {
            refused.insert(gsi, error);
        });
        for due in due {
            let committed = refused.remove(&due.route.0).map_or(Ok(()), Err);
            due.irqfd.lock().finish(&due.function, due.ticket, committed);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self) -> Vec<Opening> {
        self.kicked = false;
        std::mem::take(&mut self.openings)
    }
}

/// An opening whose ticket was good when it was looked at.
struct Due {
    function: Arc<Function>,
    irqfd: Arc<IrqfdVector>,
    ticket: Ticket,
    route: (Gsi, MsiRoute),
}

impl Due {
    fn new(opening: Opening) -> Option<Self> {
        let Opening { function, irqfd, ticket } = opening;
        let function = function.upgrade()?;
        let route = irqfd.lock().due(&function, ticket)?;
        Some(Self { function, irqfd, ticket, route })
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let work = &self.committer.work;
        let mut queue = work.queue();
        queue.batches -= 1;
        let is_last = queue.batches == 0 && !queue.openings.is_empty();
        drop(queue);
        if is_last {
            work.begin();
        }
    }
}

impl Drop for Committer {
    /// Ends the thread. There is no function any more, and so nothing queued.
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.work.stopped.store(true, Ordering::Release);
        if let Some(poller) = &self.work.poller {
            poller.kick();
        }
        // The thread itself may have held the last function.
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer")
            .field("queued", &self.work.queue().openings.len())
            .field("has_thread", &self.thread.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("committer", self.committer).finish()
    }
}
