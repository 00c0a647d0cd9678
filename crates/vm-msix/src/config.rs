//! The registers of a function's MSI-X, and the one action that follows every change of them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::backend::{IntoBackend, MsiBackend, RouteEvent, Signal};
use crate::error::MsixError;
use crate::observer::MsixObserver;
use crate::registers::Registers;
use crate::route::Route;
use crate::sync::{AppliedRoutes, Retry};
use crate::trigger::{Trigger, signal};
use crate::vector::{VectorCount, VectorIndex};

/// The MSI-X of one function: its registers, and the delivery of its signals.
///
/// Register accesses take `&mut self`, under whatever lock the VMM has for them. Signals take `&self` or a
/// [`Trigger`], from any thread, and wait for no lock.
///
/// ```
/// use std::convert::Infallible;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use vm_msix::{MsiMessage, MsixConfig, Signal, SignalMode, VectorIndex};
///
/// static DELIVERED: AtomicU32 = AtomicU32::new(0);
/// // A hypervisor's "send this message" goes here.
/// let sender = SignalMode::new(|_vector: VectorIndex, message: MsiMessage| {
///     DELIVERED.store(message.data, Ordering::Relaxed);
///     Ok::<(), Infallible>(())
/// });
/// let mut msix = MsixConfig::new(2, sender, 0x1042_1af4, "disk0")?;
///
/// // The guest programs vector 1, unmasks it, and enables MSI-X.
/// msix.write_msix_table(16, &0xfee0_0000_u64.to_le_bytes());
/// msix.write_msix_table(24, &0x41_u64.to_le_bytes());
/// msix.write_msix_capability(2, &0x8000_u16.to_le_bytes());
///
/// assert_eq!(msix.trigger(1)?, Signal::Sent);
/// assert_eq!(DELIVERED.load(Ordering::Relaxed), 0x41);
/// assert_eq!(msix.trigger(0)?, Signal::Latched); // still masked
/// # Ok::<(), vm_msix::MsixError>(())
/// ```
pub struct MsixConfig<B: MsiBackend, O: MsixObserver = ()> {
    pub(crate) identity: Identity,
    pub(crate) registers: Registers,
    applied: AppliedRoutes,
    backend: Lease<B>,
    observer: Arc<O>,
}

/// Which function it is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) vectors: VectorCount,
    pub(crate) pci_id: u32,
    pub(crate) device_name: String,
}

/// The function's own hold on its backend: what the host lent is given back with it, although
/// triggers may keep the backend alive.
struct Lease<B: MsiBackend>(Arc<B>);

impl<B: MsiBackend> Drop for Lease<B> {
    fn drop(&mut self) {
        // Nobody is left to be told.
        self.0.release(&mut |_, _| {});
    }
}

impl<B: MsiBackend> MsixConfig<B> {
    /// The MSI-X of a function with so many vectors, as it is after reset.
    ///
    /// `pci_id` is Device ID and Vendor ID; it and the name identify the function to
    /// [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorCount`]; [`MsixError::Source`] if there is no delivery to be had;
    /// [`MsixError::BackendVectors`] if the backend was made for another number.
    pub fn new(
        msix_vectors: u16,
        source: impl IntoBackend<Backend = B>,
        pci_id: u32,
        device_name: impl Into<String>,
    ) -> Result<Self, MsixError> {
        let vectors = VectorCount::new(msix_vectors)?;
        let device_name = device_name.into();
        let backend = match source.into_backend(vectors) {
            Ok(backend) if backend.vectors() == vectors => backend,
            Ok(backend) => {
                let backend = backend.vectors().get();
                return Err(MsixError::BackendVectors { backend, vectors: vectors.get() });
            }
            Err(source) => {
                return Err(MsixError::Source { device_name, source: Box::new(source) });
            }
        };
        Ok(Self {
            identity: Identity { vectors, pci_id, device_name },
            registers: Registers::new(vectors),
            applied: AppliedRoutes::new(vectors),
            backend: Lease(Arc::new(backend)),
            observer: Arc::new(()),
        })
    }

    /// Lets an observer see what happens from now on. Triggers that were handed out before keep to
    /// themselves.
    pub fn with_observer<O: MsixObserver>(self, observer: O) -> MsixConfig<B, O> {
        let Self { identity, registers, applied, backend, observer: _ } = self;
        MsixConfig { identity, registers, applied, backend, observer: Arc::new(observer) }
    }
}

/// What the registers say.
impl<B: MsiBackend, O: MsixObserver> MsixConfig<B, O> {
    /// How many vectors the function has.
    pub fn num_vectors(&self) -> u16 {
        self.identity.vectors.get()
    }

    /// Whether Function Mask is set: every vector is masked, whatever its own Mask Bit says.
    pub fn masked(&self) -> bool {
        self.registers.control.function_masked
    }

    /// Whether a vector's Mask Bit is set; true for a vector that is not there.
    pub fn table_masked(&self, index: usize) -> bool {
        self.registers.table.get(index).is_none_or(|entry| entry.masked)
    }

    /// Whether MSI-X Enable is set. While it is not, a device that has INTx uses that.
    pub fn enabled(&self) -> bool {
        self.registers.control.enabled
    }

    /// The vector with this index.
    #[inline]
    pub(crate) fn check(&self, vector: usize) -> Result<VectorIndex, MsixError> {
        self.identity.vectors.check(vector)
    }

    /// The backend.
    #[inline]
    pub fn backend(&self) -> &B {
        &self.backend.0
    }

    /// The observer.
    pub fn observer(&self) -> &O {
        &self.observer
    }
}

/// What the device does.
impl<B: MsiBackend, O: MsixObserver> MsixConfig<B, O> {
    /// Signals a vector: its message is sent, or the signal latched until the vector opens (C3).
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorOutOfRange`]; [`MsixError::Trigger`] if the message could not be sent.
    #[inline]
    pub fn trigger(&self, vector: u16) -> Result<Signal, MsixError> {
        let vector = self.check(vector.into())?;
        signal(self.backend(), self.observer(), vector)
    }

    /// The same for one vector, to keep and to clone: see [`Trigger`].
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorOutOfRange`].
    pub fn trigger_handle(&self, vector: u16) -> Result<Trigger<B, O>, MsixError> {
        let vector = self.check(vector.into())?;
        Ok(Trigger::new(vector, Arc::clone(&self.backend.0), Arc::clone(&self.observer)))
    }

    /// Takes a latched signal back whose cause is gone (C6): the Pending Bit clears and unmasking delivers
    /// nothing (PCIe Base 6.1.4.5). Tells whether there was one.
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorOutOfRange`].
    pub fn retract(&self, vector: u16) -> Result<bool, MsixError> {
        let vector = self.check(vector.into())?;
        let retracted = self.backend().clear_latch(vector);
        if retracted {
            self.observer.retracted(vector);
        }
        Ok(retracted)
    }
}

/// What the VMM does.
impl<B: MsiBackend, O: MsixObserver> MsixConfig<B, O> {
    /// Whether the function may write to memory: Bus Master Enable of its Command register. It may, until told
    /// otherwise.
    pub fn set_bus_master(&mut self, allowed: bool) {
        self.registers.bus_master = allowed;
        self.sync_all(Retry::No);
    }

    /// Resets the function (C7): MSI-X off, every vector masked, nothing pending, and every host resource given
    /// back. Bus mastering is configuration space's to reset.
    pub fn reset(&mut self) {
        self.registers.reset();
        self.close_and_release();
    }

    /// Ends delivery when the device goes away: everything is given back, as by [`reset`](Self::reset), and the
    /// function stays [paused](Self::pause), so that a guest that still reaches its registers acquires nothing
    /// anew. Dropping the function gives everything back too.
    pub fn destroy(&mut self) {
        self.pause();
        self.reset();
    }

    /// Tries once more what failed, and waits for what is deferred: `Ok` when the backend is as the
    /// registers ask.
    ///
    /// # Errors
    ///
    /// [`MsixError::Unsynced`]; the observer was told why.
    pub fn flush(&mut self) -> Result<(), MsixError> {
        self.sync_all(Retry::Exhausted);
        self.settle();
        let mut unsynced = self.unsynced();
        match unsynced.next() {
            None => Ok(()),
            Some(first) => {
                Err(MsixError::Unsynced { vectors: unsynced.count().saturating_add(1), first })
            }
        }
    }

    /// The vectors that are not routed as the registers ask, because the backend could not (C11).
    pub fn unsynced(&self) -> impl Iterator<Item = VectorIndex> {
        self.identity
            .vectors
            .indices()
            .zip(self.registers.desired_routes())
            .filter(|&(vector, route)| !self.applied.is(vector, route))
            .map(|(vector, _)| vector)
    }

    /// Closes every vector, empties every latch, gives everything back. The registers ask for that already.
    pub(crate) fn close_and_release(&mut self) {
        self.sync_all(Retry::No);
        let is_ours = |vector: VectorIndex| vector.get() < self.num_vectors();
        self.backend().clear_latches(&mut |vector| {
            if is_ours(vector) {
                self.observer.retracted(vector);
            }
        });
        let Self { applied, backend, observer, .. } = self;
        applied.reset();
        backend.0.release(&mut |vector, event| note(applied, observer, vector, &event));
    }
}

/// The one action (C2): make the backend equal to the registers.
impl<B: MsiBackend, O: MsixObserver> MsixConfig<B, O> {
    /// After a write that can concern one vector only.
    pub(crate) fn sync_one(&mut self, vector: VectorIndex) {
        self.note_late_events();
        if self.applied.has_still_open() {
            return self.sync_all(Retry::No);
        }
        let route = self.registers.desired(vector);
        if self.applied.take_change(vector, route, Retry::No) {
            self.hand_over(&[(vector, route)]);
        }
    }

    /// After anything that can concern them all.
    pub(crate) fn sync_all(&mut self, retry: Retry) {
        self.note_late_events();
        let Self { identity, registers, applied, .. } = self;
        let mut changes = Vec::new();
        for (vector, route) in identity.vectors.indices().zip(registers.desired_routes()) {
            if applied.take_change(vector, route, retry) {
                changes.push((vector, route));
            }
        }
        if !changes.is_empty() {
            self.hand_over(&changes);
        }
    }

    /// Waits for what the backend has deferred, and hears how it went.
    pub(crate) fn settle(&mut self) {
        self.backend().flush();
        self.note_late_events();
    }

    fn hand_over(&mut self, changes: &[(VectorIndex, Route)]) {
        for &(vector, route) in changes {
            self.observer.route_changed(vector, route);
        }
        let Self { applied, backend, observer, .. } = self;
        backend.0.set_routes(changes, &mut |vector, event| note(applied, observer, vector, &event));
    }

    fn note_late_events(&mut self) {
        let Self { applied, backend, observer, .. } = self;
        backend.0.late_events(&mut |vector, event| note(applied, observer, vector, &event));
    }
}

/// Takes note of what the backend reports, and passes it on.
fn note<E: core::error::Error, O: MsixObserver>(
    applied: &mut AppliedRoutes,
    observer: &Arc<O>,
    vector: VectorIndex,
    event: &RouteEvent<E>,
) {
    applied.note(vector, event);
    match event {
        RouteEvent::Delivered => observer.delivered(vector),
        RouteEvent::Refused(error)
        | RouteEvent::Exhausted(error)
        | RouteEvent::StillOpen(error) => {
            observer.route_failed(vector, error);
        }
    }
}

impl<B: MsiBackend, O: MsixObserver> fmt::Debug for MsixConfig<B, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsixConfig")
            .field("device_name", &self.identity.device_name)
            .field("vectors", &self.identity.vectors.get())
            .field("enabled", &self.registers.control.enabled)
            .field("function_masked", &self.registers.control.function_masked)
            .field("bus_master", &self.registers.bus_master)
            .finish_non_exhaustive()
    }
}
