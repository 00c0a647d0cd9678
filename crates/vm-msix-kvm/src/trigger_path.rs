//! What a trigger goes through: the latch, and then KVM or an eventfd. No lock, no allocation.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use vm_msix::latch::{Latch, Latches, Opened};
use vm_msix::{MsiMessage, Route, Signal, VectorCount, VectorIndex};

use crate::delivery::Delivery;
use crate::error::KvmError;
use crate::eventfd::{Notifier, notify_raw};
use crate::futex::Futex;

/// The latches of a function, and where they lead.
///
/// `signal` and `latched` are for any thread; the rest is for the control path, one thread at a time.
#[derive(Debug)]
pub(crate) struct TriggerPath {
    delivery: Delivery,
    latches: Latches<Futex>,
    /// The eventfd that a vector's latch leads to, [`NO_DESCRIPTOR`] if it leads to [`Delivery`]. As the
    /// message in the latch, it is written only while the latch is closed with nothing in flight, and read only
    /// in flight: the latch's word orders it, and keeps the descriptor open while it is used.
    descriptors: Box<[AtomicI32]>,
}

const NO_DESCRIPTOR: RawFd = -1;

impl TriggerPath {
    pub(crate) fn new(vectors: VectorCount, delivery: Delivery) -> Self {
        Self {
            delivery,
            latches: Latches::new(vectors, Futex),
            descriptors: vectors.indices().map(|_| AtomicI32::new(NO_DESCRIPTOR)).collect(),
        }
    }

    pub(crate) fn vectors(&self) -> VectorCount {
        self.latches.vectors()
    }

    pub(crate) fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    #[inline]
    pub(crate) fn signal(&self, vector: VectorIndex) -> Result<Signal, KvmError> {
        self.latch(vector)?.signal(&Futex, |message| self.send(vector, message))
    }

    /// 64 Pending Bits, as far as the latches hold them.
    pub(crate) fn latched(&self, qword: usize) -> u64 {
        self.latches.pending(qword)
    }

    pub(crate) fn clear(&self, vector: VectorIndex) -> bool {
        self.latch(vector).is_ok_and(Latch::clear)
    }

    /// The route that the latch of a vector in signal mode has.
    pub(crate) fn route(&self, vector: VectorIndex) -> Result<Route, KvmError> {
        Ok(self.latch(vector)?.route())
    }

    /// Closes: signals are latched in memory, and nothing of the vector is in flight.
    pub(crate) fn close(&self, vector: VectorIndex) {
        if let Ok(latch) = self.latch(vector) {
            latch.close(&Futex);
        }
    }

    /// Leads a vector to this message; what is latched is sent.
    pub(crate) fn lead_to_message(
        &self,
        vector: VectorIndex,
        message: MsiMessage,
    ) -> Result<Opened, KvmError> {
        self.lead(vector, NO_DESCRIPTOR, message)
    }

    /// Leads a vector to an eventfd; what is latched goes there. The eventfd must stay open until the vector
    /// has been led elsewhere or [kept](Self::keep_in_memory).
    pub(crate) fn lead_to_eventfd(
        &self,
        vector: VectorIndex,
        notifier: &Notifier,
    ) -> Result<Opened, KvmError> {
        self.lead(vector, notifier.as_raw_fd(), MsiMessage::default())
    }

    /// Closes a vector and leads it to no eventfd any more.
    pub(crate) fn keep_in_memory(&self, vector: VectorIndex) {
        self.close(vector);
        self.set_descriptor(vector, NO_DESCRIPTOR);
    }

    fn lead(
        &self,
        vector: VectorIndex,
        descriptor: RawFd,
        message: MsiMessage,
    ) -> Result<Opened, KvmError> {
        let latch = self.latch(vector)?;
        latch.close(&Futex);
        self.set_descriptor(vector, descriptor);
        latch.open(message, &Futex, |message| self.send(vector, message))
    }

    fn set_descriptor(&self, vector: VectorIndex, descriptor: RawFd) {
        if let Some(slot) = self.descriptors.get(vector.as_usize()) {
            slot.store(descriptor, Ordering::Relaxed);
        }
    }

    fn latch(&self, vector: VectorIndex) -> Result<&Latch, KvmError> {
        self.latches.get(vector).ok_or(KvmError::NoVector { vector: vector.get() })
    }

    /// Sends, in flight.
    #[inline]
    fn send(&self, vector: VectorIndex, message: MsiMessage) -> Result<Signal, KvmError> {
        let descriptor = self.descriptors.get(vector.as_usize());
        match descriptor.map_or(NO_DESCRIPTOR, |slot| slot.load(Ordering::Relaxed)) {
            NO_DESCRIPTOR => self.delivery.send(message).map(|()| Signal::Sent),
            descriptor => {
                // SAFETY: in flight, the descriptor that the latch leads to is an eventfd of an
                // `IrqfdVector`, which closes the latch, and thereby waits for us, before it lets go of it.
                let written = unsafe { notify_raw(descriptor) };
                written.map_err(|source| KvmError::call("write to the eventfd", source))?;
                Ok(Signal::HandedOver)
            }
        }
    }
}
