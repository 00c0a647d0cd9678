//! A queue, as a device serves it once.

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::GuestMemoryMmap;

/// Requests of a driver that make no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("queue: {0}")]
    Queue(#[from] virtio_queue::Error),
    #[error("buffers: {0}")]
    Buffers(#[from] std::io::Error),
    #[error("a request without the buffers that it must have")]
    Incomplete,
}

/// A buffer of the driver's.
pub(crate) type Chain<'a> = DescriptorChain<&'a GuestMemoryMmap>;

/// One turn at a queue: as many requests as it can hold, so that nobody waits for a driver that never stops.
pub(crate) struct Ring<'a> {
    queue: &'a mut Queue,
    memory: &'a GuestMemoryMmap,
    left: u16,
    used: bool,
    exhausted: bool,
}

impl<'a> Ring<'a> {
    pub(super) fn new(queue: &'a mut Queue, memory: &'a GuestMemoryMmap) -> Self {
        let left = queue.size();
        Self { queue, memory, left, used: false, exhausted: false }
    }

    /// The memory in which the buffers are.
    pub(crate) fn memory(&self) -> &'a GuestMemoryMmap {
        self.memory
    }

    /// The next request.
    pub(crate) fn pop(&mut self) -> Result<Option<Chain<'a>>, Broken> {
        let chain = match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.queue.iter(self.memory)?.next()
            }
            None => None,
        };
        self.exhausted = chain.is_none();
        Ok(chain)
    }

    /// Gives a request back, with so many bytes written to it.
    pub(crate) fn push(&mut self, head: u16, written: u32) -> Result<(), Broken> {
        self.queue.add_used(self.memory, head, written)?;
        self.used = true;
        Ok(())
    }

    /// Ends the turn; tells what the device is to do now.
    pub(super) fn end(self) -> Result<After, Broken> {
        // Before the driver is asked whether it wants to know: it may have added requests and seen us busy.
        let more = self.queue.enable_notification(self.memory)?;
        Ok(After {
            notify: self.used && self.queue.needs_notification(self.memory)?,
            // A device that left requests on purpose is told when it can serve them.
            again: more && self.exhausted,
        })
    }
}

/// What is left to do after a turn.
pub(super) struct After {
    /// The driver wants an interrupt.
    pub(super) notify: bool,
    /// There is more to serve.
    pub(super) again: bool,
}
