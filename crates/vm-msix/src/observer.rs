//! What goes on, for those who count, trace or debug; nothing at all for those who do not.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::error::Error;

use crate::access::IllegalAccess;
use crate::backend::Signal;
use crate::route::Route;
use crate::vector::VectorIndex;

/// Is told what happens to a function's vectors. `()` observes nothing and costs nothing.
///
/// A guest can cause any of these as often as it likes: count them, do not log them without a limit.
///
/// # Threading
///
/// Signals are told by the thread that signals, after the signal is done and outside of anything that
/// a close waits for. The rest is told by the thread that accesses registers, in the midst of that: an observer must not
/// call back into the function.
pub trait MsixObserver: Send + Sync {
    /// A signal was sent, latched, collapsed or handed over.
    fn signalled(&self, _vector: VectorIndex, _signal: Signal) {}

    /// A signal on an open vector could not be sent; the device has been told.
    fn signal_failed(&self, _vector: VectorIndex, _error: &dyn Error) {}

    /// A latched signal was sent, because its vector opened.
    fn delivered(&self, _vector: VectorIndex) {}

    /// A latched signal was taken back by the device, by a reset or by a restore.
    fn retracted(&self, _vector: VectorIndex) {}

    /// A vector is to have another route from now on.
    fn route_changed(&self, _vector: VectorIndex, _route: Route) {}

    /// The backend could not give a vector its route: it is closed and keeps latching, or could not be closed.
    fn route_failed(&self, _vector: VectorIndex, _error: &dyn Error) {}

    /// The guest did what the specification leaves undefined.
    fn illegal_access(&self, _access: IllegalAccess) {}
}

impl MsixObserver for () {}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<T: MsixObserver + ?Sized> MsixObserver for $pointer {
            fn signalled(&self, vector: VectorIndex, signal: Signal) {
                (**self).signalled(vector, signal);
            }

            fn signal_failed(&self, vector: VectorIndex, error: &dyn Error) {
                (**self).signal_failed(vector, error);
            }

            fn delivered(&self, vector: VectorIndex) {
                (**self).delivered(vector);
            }

            fn retracted(&self, vector: VectorIndex) {
                (**self).retracted(vector);
            }

            fn route_changed(&self, vector: VectorIndex, route: Route) {
                (**self).route_changed(vector, route);
            }

            fn route_failed(&self, vector: VectorIndex, error: &dyn Error) {
                (**self).route_failed(vector, error);
            }

            fn illegal_access(&self, access: IllegalAccess) {
                (**self).illegal_access(access);
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);
