//! Commits routes in groups, behind the backs of the vCPUs.
//!
//! KVM replaces its routing table as a whole, and waits for a grace period when it does: a commit takes from 10 microseconds
//! to half a millisecond. So a vCPU that unmasks a vector does not wait for one. What it wants is queued; while a commit runs, more
//! gathers; and the next commit takes it all.
//!
//! # A queued opening
//!
//! 1. The control path, with the vector's lock: the vector gets a ticket, and joins the queue unless it is there.
//! 2. The committer takes the queue, and calls each vector, with its lock: what ticket has it, and for what route?
//! 3. It commits, with no vector's lock: closes go on meanwhile, and void tickets.
//! 4. It finishes each vector whose ticket is still good, with its lock: the eventfd is assigned.
//!
//! Signals that come in the meantime wait in the eventfd, and are delivered by step 4.
//!
//! # Locks
//!
//! `running` makes commits one at a time, and comes before everything else here; a vCPU takes it in immediate mode and in
//! a flush only. `queue` is held for a push or a take.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use vm_msix::VectorIndex;

use crate::commit::Commit;
use crate::error::KvmError;
use crate::eventfd::Notifier;
use crate::function::Function;
use crate::irqfd::{Enlist, IrqfdVector};
use crate::mass_close::MassClose;
use crate::poller::{Patience, Poller, Token};
use crate::queue::{Openings, Queue};
use crate::route_table::{Gsi, RouteTable};
use crate::sys::thread::{self, JoinHandle};
use crate::sys::{Instant, Mutex, MutexGuard, outlive};

/// The committer's thread rests from commits for so many times as long as the last one took: a guest that unmasks vectors one by
/// one, and takes its time, gets a commit for many of them still, and commits take a fifth of a CPU at most.
const REST: u32 = 4;
/// Its longest rest, where the table takes long.
const LONGEST_REST: Duration = Duration::from_millis(2);

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
/// Signal mode needs none of it.
///
/// # Flush and shutdown
///
/// [`MsixConfig::flush`](vm_msix::MsixConfig::flush) commits what is queued on the calling thread, and hears of what failed.
/// [`flush`](Self::flush) does so without a function.
///
/// A function that is reset, destroyed or dropped takes back what it has queued. Functions and descriptors keep the committer
/// alive, besides its maker; when the last of them goes, nothing can be queued, and the thread ends. The drop waits for it, unless
/// the thread itself was at work for a function, and had it last.
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
                move || work.poller.iter().for_each(|poller| work.run_until_stopped(poller))
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
    /// is no GSI. For [`polled`](Self::polled) committers; others need it not, and lose nothing by it.
    pub fn run_pending(&self) {
        if let (Some(poller), None) = (&self.work.poller, &self.thread) {
            poller.serve(Patience::For(Duration::ZERO));
        }
        self.work.run(Queue::take_due);
    }

    /// The descriptor to wait for: readable when there is something to do. `None` if there is never anything, as
    /// with an [`immediate`](Self::immediate) committer.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.work.poller.as_ref().map(AsFd::as_fd)
    }

    /// Commits what is queued, also what a batch is gathering. When it returns, every vector that was queued is open
    /// or has failed.
    pub fn flush(&self) {
        self.work.run(Queue::take_all);
    }

    /// Gathers: nothing is committed until the last batch is dropped, or somebody [flushes](Self::flush); then all of it is, at once.
    ///
    /// For a VMM that resumes or restores many functions. Closing does not wait for it. While it lives, signals of descriptors
    /// wait too.
    pub fn batch(&self) -> Batch<'_> {
        self.work.queue().begin_batch();
        Batch { committer: self }
    }

    /// Lets the thread, if there is one, help with a close.
    pub(crate) fn call_for_help(&self, close: &Arc<MassClose>) {
        if let (Some(_), Some(poller)) = (&self.thread, &self.work.poller) {
            self.work.queue().push_close(Arc::clone(close));
            poller.kick();
        }
    }

    /// Gives GSIs back that no irqfd is assigned to: at once, or when the commit that goes on has ended.
    pub(crate) fn give_back(&self, gsis: Vec<Gsi>) {
        let gsis = self.work.queue().give_back(gsis);
        if !gsis.is_empty() {
            self.table().release(&gsis);
        }
    }

    pub(crate) fn table(&self) -> &dyn RouteTable {
        &*self.work.table
    }

    /// Whether somebody commits later than what it is for, and looks after vectors without a GSI.
    pub(crate) fn defers(&self) -> bool {
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
        Arc::new(Self { table, queue: Mutex::default(), running: Mutex::default(), poller })
    }

    /// The thread. After a commit it rests from commits, and from nothing else: what comes in the meantime goes together.
    fn run_until_stopped(&self, poller: &Poller) {
        let mut rested = Instant::now();
        while !self.queue().is_stopped() {
            // A hook that panics is its function's trouble, and not that of every other one.
            outlive(|| rested = self.run_once(poller, rested));
        }
    }

    /// Serves what has come, and commits what is due if it has rested. Tells when it will have rested.
    fn run_once(&self, poller: &Poller, rested: Instant) -> Instant {
        let rest = rested.saturating_duration_since(Instant::now());
        let is_due = self.queue().is_due_before_sleep();
        poller.serve(if is_due { Patience::For(rest) } else { Patience::Forever });
        let closes = self.queue().take_closes();
        // Not kept: each holds its function, which may be the last to keep this thread alive.
        closes.into_iter().for_each(|close| close.help());
        if rested > Instant::now() {
            return rested;
        }
        let took = self.run(Queue::take_due);
        Instant::now() + (took * REST).min(LONGEST_REST)
    }

    /// Lets what is queued begin, unless it is being gathered; in immediate mode, to its end.
    fn begin(&self) {
        match &self.poller {
            None => {
                self.run(Queue::take_due);
            }
            Some(poller) => {
                if self.queue().wants_kick() {
                    poller.kick();
                }
            }
        }
    }

    /// One commit for what there is. What others have begun is done too when it returns. Tells how long the commit took.
    fn run(&self, take: fn(&mut Queue) -> Vec<Openings>) -> Duration {
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let openings = take(&mut self.queue());
        if openings.is_empty() {
            return Duration::ZERO;
        }
        let mut commit = Commit::begin(&*self.table, &self.queue, openings);
        let took = commit.set_routes();
        commit.finish();
        took
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Openings of one call of the control path, which go together: queued when it is dropped, by a panic too, or carried out if
/// nobody else does that. Whoever drops it has no lock.
pub(crate) struct Gathered<'a> {
    function: &'a Function,
    irqfds: Vec<Arc<IrqfdVector>>,
}

impl<'a> Gathered<'a> {
    pub(crate) fn of(function: &'a Function) -> Self {
        Self { function, irqfds: Vec::new() }
    }

    pub(crate) fn push(&mut self, irqfd: &Arc<IrqfdVector>, enlist: Enlist) {
        if enlist == Enlist::Yes {
            self.irqfds.push(Arc::clone(irqfd));
        }
    }
}

impl Drop for Gathered<'_> {
    fn drop(&mut self) {
        if self.irqfds.is_empty() {
            return;
        }
        let work = &self.function.committer.work;
        let irqfds = std::mem::take(&mut self.irqfds);
        work.queue().push(Openings { function: self.function.this(), irqfds });
        if !thread::panicking() {
            work.begin();
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let work = &self.committer.work;
        let mut queue = work.queue();
        queue.end_batch();
        let is_due = queue.is_due();
        drop(queue);
        if is_due && !thread::panicking() {
            work.begin();
        }
    }
}

impl Drop for Committer {
    /// Ends the thread. There is no function any more, and so nothing queued.
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.work.queue().stop();
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
            .field("queued", &self.work.queue().len())
            .field("has_thread", &self.thread.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("committer", self.committer).finish()
    }
}
