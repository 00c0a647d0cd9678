//! The seam: what carries the messages of a function, and how it is told what to do.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::convert::Infallible;
use core::error::Error;
#[cfg(feature = "std")]
use std::os::fd::OwnedFd;

use crate::route::Route;
use crate::vector::{VectorCount, VectorIndex};

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// The vector is open: its message left the function.
    Sent,
    /// The vector is closed: the signal is kept, its Pending Bit is set.
    Latched,
    /// The vector is closed and a signal is kept already: the two are one now.
    Collapsed,
    /// Written to an eventfd, which is this vector's latch; whoever is behind it goes on.
    HandedOver,
}

/// What a backend has to say about a change of route that did not simply work.
#[derive(Debug)]
pub enum RouteEvent<E> {
    /// The vector opened, and a latched signal was sent.
    Delivered,
    /// This message will never be taken. The vector is closed and keeps latching; it is tried again
    /// when its route changes.
    Refused(E),
    /// Something is short just now. The vector is closed and keeps latching; it is tried again at the
    /// next write of Message Control or flush.
    Exhausted(E),
    /// The vector could not be closed and may still send. It is told again at the next sync.
    StillOpen(E),
}

impl<E> RouteEvent<E> {
    /// What went wrong, if anything did.
    pub fn into_error(self) -> Option<E> {
        match self {
            Self::Delivered => None,
            Self::Refused(error) | Self::Exhausted(error) | Self::StillOpen(error) => Some(error),
        }
    }
}

/// Delivers messages: the hypervisor's side of MSI-X.
///
/// The registers decide, the backend acts: it is handed routes and signals, and owns the latch.
/// No method has a default, so that a wrapper cannot forget one; `&T`, `Box<T>` and `Arc<T>`
/// forward them all.
///
/// # Threading
///
/// [`signal`](Self::signal) and [`latched`](Self::latched) come from any thread at any time, and signal
/// waits for none of the others. The rest is control: one thread at a time, as register accesses are.
pub trait MsiBackend: Send + Sync {
    /// What can go wrong.
    type Error: Error + Send + Sync + 'static;

    /// How many vectors it delivers for; a function with another number is refused. What is asked about
    /// an index past the end does nothing.
    fn vectors(&self) -> VectorCount;

    /// Makes these the routes of these vectors: one batch, each vector at most once.
    ///
    /// When it returns, no closed vector sends (C4). Opening a vector delivers what it latched. A vector
    /// of which nothing is reported has the route that was asked for.
    fn set_routes(
        &self,
        changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<Self::Error>),
    );

    /// Reports what went wrong since with changes that [`set_routes`](Self::set_routes) deferred. An
    /// event about a route that has been replaced in the meantime is dropped.
    fn late_events(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<Self::Error>));

    /// Waits until no change is deferred any more.
    fn flush(&self);

    /// A signal on a vector: sent if it is open, latched if closed.
    ///
    /// # Errors
    ///
    /// The message could not be sent. It is not latched; the device may signal again.
    fn signal(&self, vector: VectorIndex) -> Result<Signal, Self::Error>;

    /// 64 Pending Bits, those of the vectors from `64 * qword`, without any effect on them.
    fn latched(&self, qword: usize) -> u64;

    /// Takes a latched signal back (C6); tells whether there was one.
    fn clear_latch(&self, vector: VectorIndex) -> bool;

    /// Takes the latched signals of all vectors back (C7); tells whose there were.
    fn clear_latches(&self, cleared: &mut dyn FnMut(VectorIndex));

    /// Closes every vector and gives back every host resource (C7); a vector that opens again acquires anew.
    /// Reports the vectors that could not be closed, which keep what they need.
    fn release(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<Self::Error>));
}

/// What a backend is made from, once the number of vectors is known.
///
/// A backend is its own source. Others are cheap descriptions of a VM's means of delivery, from
/// which each function gets its backend.
pub trait IntoBackend {
    /// The backend.
    type Backend: MsiBackend;
    /// Why there is none.
    type Error: Error + Send + Sync + 'static;

    /// Makes the backend of a function with so many vectors.
    ///
    /// # Errors
    ///
    /// What the backend needed and did not get.
    fn into_backend(self, vectors: VectorCount) -> Result<Self::Backend, Self::Error>;
}

impl<B: MsiBackend> IntoBackend for B {
    type Backend = B;
    type Error = Infallible;

    fn into_backend(self, _vectors: VectorCount) -> Result<B, Infallible> {
        Ok(self)
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<T: MsiBackend + ?Sized> MsiBackend for $pointer {
            type Error = T::Error;

            fn vectors(&self) -> VectorCount {
                (**self).vectors()
            }

            fn set_routes(
                &self,
                changes: &[(VectorIndex, Route)],
                report: &mut dyn FnMut(VectorIndex, RouteEvent<T::Error>),
            ) {
                (**self).set_routes(changes, report);
            }

            fn late_events(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<T::Error>)) {
                (**self).late_events(report);
            }

            fn flush(&self) {
                (**self).flush();
            }

            fn signal(&self, vector: VectorIndex) -> Result<Signal, T::Error> {
                (**self).signal(vector)
            }

            fn latched(&self, qword: usize) -> u64 {
                (**self).latched(qword)
            }

            fn clear_latch(&self, vector: VectorIndex) -> bool {
                (**self).clear_latch(vector)
            }

            fn clear_latches(&self, cleared: &mut dyn FnMut(VectorIndex)) {
                (**self).clear_latches(cleared);
            }

            fn release(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<T::Error>)) {
                (**self).release(report);
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);

/// A backend whose vectors can be given to others as descriptors (C13): vhost, VFIO, another process.
///
/// # Threading
///
/// All of it is control, as [`MsiBackend`] has it; dropping an [`Irqfd`](Self::Irqfd) is not, and happens on any thread.
#[cfg(feature = "std")]
pub trait IrqfdBackend: MsiBackend {
    /// Keeps a vector on its descriptor: the eventfd whose writes are signals. When the last one of
    /// a vector is dropped, the descriptor is done with.
    type Irqfd: std::os::fd::AsFd + Send + Sync;

    /// Puts a vector on a descriptor, or joins those who have it there.
    ///
    /// # Errors
    ///
    /// What the backend needed and did not get; the vector goes on as it was.
    fn irqfd(&self, vector: VectorIndex) -> Result<Self::Irqfd, Self::Error>;

    /// Puts a vector on a descriptor that the caller brings, in the place of the one that it has, if it has one: what waits in
    /// that one is delivered or stays pending, and what comes into it later reaches nobody.
    ///
    /// # Errors
    ///
    /// It cannot be a vector's, or the backend did not get what it needed; the vector goes on as it was.
    fn adopt_irqfd(
        &self,
        vector: VectorIndex,
        eventfd: OwnedFd,
    ) -> Result<Self::Irqfd, Self::Error>;

    /// Lets two vectors exchange their descriptors, of which either may have none: those who hold one, and those who write it,
    /// signal the other vector from now on. What waits in a descriptor stays with its vector.
    ///
    /// # Errors
    ///
    /// A descriptor could not be taken out of its vector; both are where they were.
    fn swap_irqfds(&self, a: VectorIndex, b: VectorIndex) -> Result<(), Self::Error>;
}

#[cfg(feature = "std")]
macro_rules! forward_irqfd {
    ($($pointer:ty),*) => {$(
        impl<T: IrqfdBackend + ?Sized> IrqfdBackend for $pointer {
            type Irqfd = T::Irqfd;

            fn irqfd(&self, vector: VectorIndex) -> Result<T::Irqfd, T::Error> {
                (**self).irqfd(vector)
            }

            fn adopt_irqfd(
                &self,
                vector: VectorIndex,
                eventfd: OwnedFd,
            ) -> Result<T::Irqfd, T::Error> {
                (**self).adopt_irqfd(vector, eventfd)
            }

            fn swap_irqfds(&self, a: VectorIndex, b: VectorIndex) -> Result<(), T::Error> {
                (**self).swap_irqfds(a, b)
            }
        }
    )*};
}

#[cfg(feature = "std")]
forward_irqfd!(&T, Box<T>, Arc<T>);
