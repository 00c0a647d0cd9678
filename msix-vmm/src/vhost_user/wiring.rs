//! What the driver wants of each queue, beside what the backend was told.

use std::io;
use std::sync::Arc;

use rustix::fd::AsFd;
use virtio_queue::Queue;
use vmm_sys_util::eventfd::EventFd;

use super::bell::{Bells, eventfd_of};

/// The queues of a device, and when they run.
pub(super) struct Wiring<I> {
    /// The features of a driver that is ready.
    pub(super) driver: Option<u64>,
    pub(super) bus_master: bool,
    /// The backend serves the queues.
    pub(super) running: bool,
    pub(super) queues: Vec<Wire<I>>,
}

/// A queue.
pub(super) struct Wire<I> {
    /// Where it is, if the driver has enabled it.
    pub(super) queue: Option<Queue>,
    /// The request at which it goes on.
    pub(super) next: u16,
    /// The vector that it has now, on its descriptor.
    pub(super) vector: Option<Vector<I>>,
    /// Where the backend signals.
    pub(super) called: Call<I>,
}

/// A vector on a descriptor.
pub(super) struct Vector<I> {
    pub(super) number: u16,
    /// Kept for as long as the backend may write it.
    pub(super) irqfd: Arc<I>,
}

/// Where a backend signals.
pub(super) enum Call<I> {
    /// By the eventfd of a vector: KVM listens.
    Vector(Arc<I>),
    /// By one that our own thread listens to.
    Bell,
}

impl<I> Wiring<I> {
    pub(super) fn new(queues: usize) -> Self {
        let queues = (0..queues).map(|_| Wire::new()).collect();
        Self { driver: None, bus_master: false, running: false, queues }
    }

    /// Whether the queues are to be served.
    pub(super) fn may_run(&self) -> bool {
        self.driver.is_some() && self.bus_master
    }

    /// Forgets the driver.
    pub(super) fn reset(&mut self) {
        *self = Self { bus_master: self.bus_master, ..Self::new(self.queues.len()) };
    }
}

impl<I> Wire<I> {
    fn new() -> Self {
        Self { queue: None, next: 0, vector: None, called: Call::Bell }
    }

    /// Where the backend is to signal.
    pub(super) fn call(&self, msix_enabled: bool) -> Call<I> {
        match &self.vector {
            Some(vector) if msix_enabled => Call::Vector(Arc::clone(&vector.irqfd)),
            _ => Call::Bell,
        }
    }
}

impl<I> Call<I> {
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Vector(one), Self::Vector(other)) => Arc::ptr_eq(one, other),
            (Self::Bell, Self::Bell) => true,
            _ => false,
        }
    }
}

impl<I: AsFd> Call<I> {
    /// The eventfd, to send it.
    pub(super) fn eventfd(&self, bells: &Bells) -> io::Result<EventFd> {
        match self {
            Self::Vector(irqfd) => eventfd_of(&**irqfd),
            Self::Bell => eventfd_of(&bells.call),
        }
    }
}
