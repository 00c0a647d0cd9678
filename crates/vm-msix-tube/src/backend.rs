//! The device process's backend: latches in its memory, eventfds that the VMM listens to, and a tube to tell it of routes.
//!
//! A trigger takes no lock and never touches the socket: closed, it is latched in memory; open, it is one write to the vector's
//! eventfd. What the VMM does with a vector is the business of its own backend, which is told of routes only.
//!
//! # Opening
//!
//! The request is posted, with the eventfd if the VMM has not got it; then the latch opens. What is written before the VMM
//! is done waits in the eventfd. If it cannot be done, the latch closes again, and takes back what waits.
//!
//! # Closing
//!
//! The latch closes, which waits for the writes in flight; then the VMM is asked, and waited for: when it answers, no interrupt of
//! the vector comes any more (C4). If a signal was still on its way there, the answer says so, and the latch has it again.
//!
//! # Locks
//!
//! One, for the control path. A trigger and a look at Pending Bits take none.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use vm_msix::{
    IntoBackend, IrqfdBackend, MsiBackend, Route, Signal, SignalMode, VectorCount, VectorIndex,
};

use crate::error::TubeError;
use crate::eventfds::{Eventfd, Eventfds};
use crate::function::{Control, Function, Report};
use crate::guard::TubeIrqfd;
use crate::link::{Link, Traffic};
use crate::sys::{Mutex, Yield};
use crate::tube::Tube;

/// Delivers a function's vectors through the VMM at the other end of a [`Tube`].
pub struct TubeBackend {
    function: Arc<Function>,
}

impl IntoBackend for Tube {
    type Backend = TubeBackend;
    type Error = TubeError;

    /// Greets the VMM, and waits to be welcome.
    fn into_backend(self, vectors: VectorCount) -> Result<TubeBackend, TubeError> {
        let tube = Arc::new(self);
        let link = Link::greet(Arc::clone(&tube), vectors)?;
        let mode = SignalMode::new(Eventfds::new(vectors)).with_relax(Yield);
        let Ok(signals) = mode.into_backend(vectors);
        let brought = vectors.indices().map(|_| false).collect();
        let control = Mutex::new(Control { link, brought, late: Vec::new() });
        Ok(TubeBackend { function: Arc::new(Function { tube, signals, control }) })
    }
}

impl TubeBackend {
    /// What went through the tube so far.
    pub fn traffic(&self) -> Traffic {
        self.function.control().link.traffic()
    }
}

impl MsiBackend for TubeBackend {
    type Error = TubeError;

    fn vectors(&self) -> VectorCount {
        self.function.signals.vectors()
    }

    fn set_routes(&self, changes: &[(VectorIndex, Route)], report: Report<'_>) {
        self.function.set_routes(&mut self.function.control(), changes, report);
    }

    fn late_events(&self, report: Report<'_>) {
        self.function.hear_late_events(&mut self.function.control(), report);
    }

    fn flush(&self) {
        // What fails is a late event.
        let _ = self.function.control().link.flush();
    }

    #[inline]
    fn signal(&self, vector: VectorIndex) -> Result<Signal, TubeError> {
        match self.function.signals.signal(vector)? {
            Signal::Sent => Ok(Signal::HandedOver),
            kept => Ok(kept),
        }
    }

    fn latched(&self, qword: usize) -> u64 {
        // Here and below: a holder that goes moves what its descriptor keeps to the latch, and that is seen here or there.
        let _control = self.function.control();
        let Function { signals, .. } = &*self.function;
        let closed =
            signals.vectors().in_qword(qword).filter(|vector| !self.function.is_open(*vector));
        let counted = self.function.eventfds().counted(closed);
        counted.fold(signals.latched(qword), |bits, vector| bits | 1 << (vector.get() % 64))
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        let _control = self.function.control();
        let counted = !self.function.is_open(vector)
            && self.function.eventfds().counted([vector].into_iter()).next().is_some()
            && self.function.eventfds().get(vector).is_some_and(|eventfd| eventfd.drain());
        self.function.signals.clear_latch(vector) | counted
    }

    fn clear_latches(&self, cleared: &mut dyn FnMut(VectorIndex)) {
        self.vectors().indices().filter(|vector| self.clear_latch(*vector)).for_each(cleared);
    }

    fn release(&self, report: Report<'_>) {
        let mut control = self.function.control();
        self.function.signals.release(report);
        control.brought.fill(false);
        // Where nobody answers, everything has been given back.
        let _ = control.link.release();
        self.function.eventfds().drop_unheld();
    }
}

impl IrqfdBackend for TubeBackend {
    type Irqfd = TubeIrqfd;

    fn irqfd(&self, vector: VectorIndex) -> Result<TubeIrqfd, TubeError> {
        let _control = self.function.control();
        let eventfd = self.function.eventfd(vector)?;
        eventfd.hold();
        Ok(TubeIrqfd::new(Arc::clone(&self.function), eventfd))
    }

    fn adopt_irqfd(&self, vector: VectorIndex, eventfd: OwnedFd) -> Result<TubeIrqfd, TubeError> {
        let eventfd = Arc::new(Eventfd::from(eventfd));
        let mut control = self.function.control();
        self.function.adopt(&mut control, vector, &eventfd)?;
        eventfd.hold();
        Ok(TubeIrqfd::new(Arc::clone(&self.function), eventfd))
    }

    fn swap_irqfds(&self, a: VectorIndex, b: VectorIndex) -> Result<(), TubeError> {
        if a == b { Ok(()) } else { self.function.swap(&mut self.function.control(), a, b) }
    }
}

impl AsRawFd for TubeBackend {
    fn as_raw_fd(&self) -> RawFd {
        self.function.tube.as_raw_fd()
    }
}

impl AsFd for TubeBackend {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.function.tube.as_fd()
    }
}

impl fmt::Debug for TubeBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TubeBackend")
            .field("vectors", &self.vectors())
            .field("tube", &self.function.tube)
            .finish_non_exhaustive()
    }
}
