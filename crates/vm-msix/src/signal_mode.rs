//! Signal mode: the latch in memory and a send, for every hypervisor that can send a message by a call.

use core::convert::Infallible;
use core::error::Error;

use crate::backend::{IntoBackend, MsiBackend, RouteEvent, Signal};
use crate::latch::Opened;
use crate::latches::Latches;
use crate::message::MsiMessage;
use crate::relax::{Relax, Spin};
use crate::route::Route;
use crate::vector::{VectorCount, VectorIndex};

/// Sends a message: a hypervisor's call, or a sink.
///
/// Any closure `Fn(VectorIndex, MsiMessage) -> Result<(), E>` is one that refuses no message.
pub trait MessageSender: Send + Sync {
    /// What can go wrong.
    type Error: Error + Send + Sync + 'static;

    /// Looks at a message before a vector opens to it.
    ///
    /// # Errors
    ///
    /// Why it can never be sent: the vector stays closed and keeps latching.
    fn check(&self, message: MsiMessage) -> Result<(), Self::Error>;

    /// Sends a message. Called from any thread that signals or opens a vector; a close waits for it,
    /// so it must not wait for a lock that a register write can hold.
    ///
    /// # Errors
    ///
    /// Why it was not sent.
    fn send(&self, vector: VectorIndex, message: MsiMessage) -> Result<(), Self::Error>;
}

impl<F, E> MessageSender for F
where
    F: Fn(VectorIndex, MsiMessage) -> Result<(), E> + Send + Sync,
    E: Error + Send + Sync + 'static,
{
    type Error = E;

    fn check(&self, _message: MsiMessage) -> Result<(), E> {
        Ok(())
    }

    fn send(&self, vector: VectorIndex, message: MsiMessage) -> Result<(), E> {
        self(vector, message)
    }
}

/// The source of a [`SignalBackend`]: a sender, and how closes wait.
#[derive(Clone, Debug)]
pub struct SignalMode<S, R = Spin> {
    sender: S,
    relax: R,
}

/// The backend of signal mode: a lock-free [latch](crate::latch) for each vector, and a sender.
///
/// Bringing up, masking and unmasking cost no call to the host; a trigger costs the send.
#[derive(Debug)]
pub struct SignalBackend<S, R = Spin> {
    sender: S,
    latches: Latches<R>,
}

impl<S: MessageSender> SignalMode<S> {
    /// Sends through this sender; closes spin.
    pub fn new(sender: S) -> Self {
        Self { sender, relax: Spin }
    }

    /// Lets closes wait in this way.
    pub fn with_relax<R: Relax>(self, relax: R) -> SignalMode<S, R> {
        SignalMode { sender: self.sender, relax }
    }
}

impl<S: MessageSender, R: Relax> IntoBackend for SignalMode<S, R> {
    type Backend = SignalBackend<S, R>;
    type Error = Infallible;

    fn into_backend(self, vectors: VectorCount) -> Result<Self::Backend, Infallible> {
        Ok(SignalBackend { sender: self.sender, latches: Latches::new(vectors, self.relax) })
    }
}

impl<S: MessageSender, R: Relax> SignalBackend<S, R> {
    /// The sender.
    pub fn sender(&self) -> &S {
        &self.sender
    }

    /// The route that a vector has; for the thread that controls it.
    pub fn route(&self, vector: VectorIndex) -> Route {
        self.latches.route(vector)
    }

    fn open(&self, vector: VectorIndex, message: MsiMessage) -> Option<RouteEvent<S::Error>> {
        if let Err(error) = self.sender.check(message) {
            self.latches.close(vector);
            return Some(RouteEvent::Refused(error));
        }
        let send = |message| self.sender.send(vector, message).map(|()| Signal::Sent);
        match self.latches.open(vector, message, send)? {
            Ok(Opened::Empty) => None,
            Ok(Opened::Delivered) => Some(RouteEvent::Delivered),
            Err(error) => Some(RouteEvent::Exhausted(error)),
        }
    }
}

impl<S: MessageSender, R: Relax> MsiBackend for SignalBackend<S, R> {
    type Error = S::Error;

    fn vectors(&self) -> VectorCount {
        self.latches.vectors()
    }

    fn set_routes(
        &self,
        changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<S::Error>),
    ) {
        for &(vector, route) in changes {
            match route {
                Route::Closed => self.latches.close(vector),
                Route::Open(message) => {
                    if let Some(event) = self.open(vector, message) {
                        report(vector, event);
                    }
                }
            }
        }
    }

    fn late_events(&self, _report: &mut dyn FnMut(VectorIndex, RouteEvent<S::Error>)) {}

    fn flush(&self) {}

    #[inline]
    fn signal(&self, vector: VectorIndex) -> Result<Signal, S::Error> {
        let send = |message| self.sender.send(vector, message).map(|()| Signal::Sent);
        self.latches.signal(vector, send).unwrap_or(Ok(Signal::Collapsed))
    }

    fn latched(&self, qword: usize) -> u64 {
        self.latches.pending(qword)
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        self.latches.clear(vector)
    }

    fn clear_latches(&self, cleared: &mut dyn FnMut(VectorIndex)) {
        self.latches
            .vectors()
            .indices()
            .filter(|vector| self.latches.clear(*vector))
            .for_each(cleared);
    }

    fn release(&self, _report: &mut dyn FnMut(VectorIndex, RouteEvent<S::Error>)) {
        for vector in self.latches.vectors().indices() {
            self.latches.close(vector);
        }
    }
}
