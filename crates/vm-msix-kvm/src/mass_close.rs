//! Closing many irqfds at once: Function Mask, Enable, Bus Master Enable, reset.
//!
//! C4 wants each deassign done before the register write returns. A deassign is two grace periods of the kernel's, and
//! 10 to 80 microseconds of waiting for other threads; on a busy machine a scheduler's slice of it, so that 2048 in a
//! row take a second. There is no call for many, and no cheaper safe way: routes that are replaced under
//! a live irqfd lose what comes meanwhile. But waits overlap. So the committer's thread and some helpers, which live as long as the
//! close does, deassign with the thread that closes. None of them is needed for it to end: who claims a vector closes it, and
//! the closing thread claims until none is left.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use vm_msix::{Route, VectorIndex};

use crate::function::Function;
use crate::irqfd::IrqfdVector;
use crate::irqfds::Irqfds;
use crate::sys::{AtomicUsize, CLOSERS, RwLock, WORTH_HELP, spawn_helper, thread};

/// A close that many work on.
pub(crate) struct MassClose {
    function: Arc<Function>,
    irqfds: Vec<Arc<IrqfdVector>>,
    /// The first that nobody has claimed.
    next: AtomicUsize,
    /// Shared by those who close; whoever has it alone knows that they are done.
    closing: RwLock<()>,
}

/// Closes those vectors that are open to KVM, if they are many. What KVM does not let go of is left to be tried, and reported, by
/// the change of its route.
pub(crate) fn close_many(function: &Function, irqfds: &Irqfds, changes: &[(VectorIndex, Route)]) {
    if changes.len() < WORTH_HELP {
        return;
    }
    let bound: Vec<_> = changes
        .iter()
        .filter_map(|(vector, _)| irqfds.get(*vector))
        .filter(|irqfd| irqfd.lock().is_kvms())
        .cloned()
        .collect();
    if bound.len() < WORTH_HELP {
        return;
    }
    let Some(function) = function.this().upgrade() else { return };
    let close = Arc::new(MassClose {
        irqfds: bound,
        next: AtomicUsize::new(0),
        closing: RwLock::new(()),
        function,
    });
    close.function.committer.call_for_help(&close);
    close.work();
    close.wait();
}

impl MassClose {
    /// Closes for as long as there are some to close, with helpers.
    pub(crate) fn help(&self) {
        thread::scope(|scope| {
            // The closing thread and this one are two.
            for _ in 2..CLOSERS {
                let help = || self.work();
                if self.is_claimed() || spawn_helper(scope, "msix-close", help).is_err() {
                    break;
                }
            }
            self.work();
        });
    }

    fn work(&self) {
        let _closing = self.closing.read().unwrap_or_else(PoisonError::into_inner);
        while let Some(irqfd) = self.claim() {
            // Tried again, and reported, by the change of route that this is for.
            let _ = irqfd.lock().close(&self.function);
        }
    }

    // Relaxed, here and below: a number that is taken once. What a claim leads to is ordered by the vector's lock.
    fn claim(&self) -> Option<&Arc<IrqfdVector>> {
        self.irqfds.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn is_claimed(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.irqfds.len()
    }

    /// Waits for what others have claimed. Who comes later finds nothing.
    fn wait(&self) {
        drop(self.closing.write().unwrap_or_else(PoisonError::into_inner));
    }
}
