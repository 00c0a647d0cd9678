//! The backend: signal mode for every vector, and an eventfd for those whose descriptor somebody asked for.
//!
//! # Signal mode
//!
//! The core's [`SignalBackend`](vm_msix::SignalBackend) with `KVM_SIGNAL_MSI` as its send. Nothing is registered with KVM.
//!
//! # irqfd mode
//!
//! A vector with a descriptor has two latches: the one in memory for triggers of this process, which go on as
//! before, and the eventfd's counter for whoever writes it. Closed, KVM does not know the eventfd, and the counter
//! keeps what comes. When the vector opens, what is in the counter is moved to the latch in memory, so that the
//! two collapse to one signal; KVM is told of the eventfd; the latch opens, and sends.
//!
//! Triggers do not go through the eventfd: its flags belong to everybody who has the descriptor, and somebody
//! who makes it blocking and fills its counter would hold the thread that triggers.
//!
//! # The order of ioctls
//!
//! Opening: route, then assign. Closing: deassign, and the route stays. Releasing: deassign, then the route goes. A vector whose
//! route is not in the table yet opens [later](crate::committer).
//!
//! # Locks, in order
//!
//! 1. The committer's `running`: commits are one at a time. A vCPU takes it to flush, and in immediate mode.
//! 2. The map of a function's eventfds. Register writes and PBA reads share it; irqfd mode is entered and left alone.
//! 3. A vector's own, over `KVM_IRQFD`; up to 64 at a time, in ascending order, by PBA reads.
//! 4. Leaves, which are held for no system call but epoll's and the kick: late events, the queue, the poll set, the
//!    router's GSIs.
//!
//! The router's table is held over a commit, under `running` alone: whoever waits for a vector never waits for a commit, if the
//! [`RouteTable`](crate::RouteTable) keeps to its contract. A trigger takes none of these. [`Translate`](crate::Translate) is asked, and
//! [`MemoryWrite`](crate::MemoryWrite) called, with a vector's lock held when it opens; observers of a function with none.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vm_msix::{
    IntoBackend, IrqfdBackend, MsiBackend, Route, RouteEvent, Signal, SignalMode, VectorCount,
    VectorIndex,
};

use crate::committer::Committer;
use crate::delivery::{Delivery, LostMessages};
use crate::error::KvmError;
use crate::eventfd::{Notifier, sample};
use crate::function::Function;
use crate::guard::Irqfd;
use crate::sys::Futex;

/// Delivers a function's vectors through KVM. Made from a [`KvmMsi`](crate::KvmMsi); clones are the same
/// backend.
///
/// Where commits are deferred, what KVM itself has against a route or an eventfd (another vector or another VM has it) is heard
/// later: the vector closes and keeps latching, the observer is told with the next register write, and a flush tries again.
#[derive(Clone)]
pub struct KvmBackend {
    function: Arc<Function>,
}

impl KvmBackend {
    pub(crate) fn new(vectors: VectorCount, delivery: Delivery, committer: Arc<Committer>) -> Self {
        let Ok(signals) = SignalMode::new(delivery).with_relax(Futex).into_backend(vectors);
        Self { function: Function::new(signals, committer) }
    }

    /// Messages that reached nobody, so far.
    pub fn lost_messages(&self) -> LostMessages {
        self.function.delivery().losses.get()
    }

    /// How many vectors have their descriptor polled, because there was no GSI when they opened: they deliver, at the cost of a
    /// wakeup of the committer's thread for each signal.
    pub fn polled_vectors(&self) -> usize {
        self.function.irqfds().iter().filter(|irqfd| irqfd.lock().is_polled()).count()
    }

    /// Translates the routes of descriptors anew, after the [`Translate`](crate::Translate) of this function has
    /// come to another mind. Triggers of open vectors need no telling: each is translated when it is sent.
    ///
    /// Hold no lock that `translate` takes. What fails is reported by the next register write.
    pub fn invalidate_translations(&self) {
        self.function.translate_again();
    }
}

impl MsiBackend for KvmBackend {
    type Error = KvmError;

    #[inline]
    fn vectors(&self) -> VectorCount {
        self.function.signals.vectors()
    }

    #[inline]
    fn set_routes(
        &self,
        changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<KvmError>),
    ) {
        if !self.function.has_irqfds() {
            return self.function.set_latches(changes, report);
        }
        let events = self.function.set_routes(changes);
        events.into_iter().for_each(|(vector, event)| report(vector, event));
        // What was committed at once is known at once.
        self.late_events(report);
    }

    #[inline]
    fn late_events(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<KvmError>)) {
        for (vector, event) in self.function.late.take() {
            report(vector, event);
        }
    }

    fn flush(&self) {
        if self.function.has_irqfds() {
            self.function.committer.flush();
        }
    }

    #[inline]
    fn signal(&self, vector: VectorIndex) -> Result<Signal, KvmError> {
        self.function.signals.signal(vector)
    }

    fn latched(&self, qword: usize) -> u64 {
        if self.function.has_irqfds() {
            self.latched_or_counted(qword)
        } else {
            self.function.signals.latched(qword)
        }
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        let counted = self.function.has_irqfds() && {
            let irqfd = self.function.irqfds().get(vector).cloned();
            irqfd.is_some_and(|irqfd| irqfd.lock().take_kept())
        };
        self.function.signals.clear_latch(vector) | counted
    }

    fn clear_latches(&self, cleared: &mut dyn FnMut(VectorIndex)) {
        if self.function.has_irqfds() {
            self.function.clear_latches().into_iter().for_each(cleared);
        } else {
            self.function.signals.clear_latches(cleared);
        }
    }

    fn release(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<KvmError>)) {
        if !self.function.has_irqfds() {
            return self.function.release_latches(report);
        }
        let events = self.function.release(self.vectors().indices());
        events.into_iter().for_each(|(vector, event)| report(vector, event));
    }
}

impl KvmBackend {
    /// 64 vectors' bits of what their latches and counters keep, by one system call.
    fn latched_or_counted(&self, qword: usize) -> u64 {
        let irqfds = self.function.irqfds();
        // Locked until all is read: a count that KVM was told of is no Pending Bit any more, and one that moves to the
        // latch must be seen here or there.
        let locked: Vec<_> = irqfds
            .in_qword(qword)
            .map(|(bit, irqfd)| (bit, irqfd.lock()))
            .filter(|(_, state)| state.keeps())
            .collect();
        let sampled = sample(locked.iter().map(|(_, state)| &*state.notifier));
        let counted = locked.iter().zip(sampled).filter(|&(_, set)| set);
        let counted = counted.fold(0, |bits, ((bit, _), _)| bits | bit);
        counted | self.function.signals.latched(qword)
    }
}

impl IrqfdBackend for KvmBackend {
    type Irqfd = Irqfd;

    fn irqfd(&self, vector: VectorIndex) -> Result<Irqfd, KvmError> {
        let joined = self.function.join(vector, None)?;
        Ok(Irqfd::new(Arc::clone(&self.function), joined))
    }

    fn adopt_irqfd(&self, vector: VectorIndex, eventfd: OwnedFd) -> Result<Irqfd, KvmError> {
        let notifier = Notifier::of_a_caller(eventfd)?;
        let joined = self.function.join(vector, Some(notifier))?;
        Ok(Irqfd::new(Arc::clone(&self.function), joined))
    }

    fn swap_irqfds(&self, a: VectorIndex, b: VectorIndex) -> Result<(), KvmError> {
        self.function.swap(a, b)
    }
}

impl fmt::Debug for KvmBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvmBackend")
            .field("vectors", &self.vectors())
            .field("delivery", self.function.delivery())
            .finish_non_exhaustive()
    }
}
