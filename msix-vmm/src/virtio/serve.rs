//! Who serves the queues of a device: the transport's registers tell it what the driver wants.

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;
use vm_msix::MsiBackend;
use vm_pci_config::ClassCode;

use super::notifier::Notifier;

/// What a device is.
pub(crate) struct Model {
    /// Its kind (virtio 1.2, section 5).
    pub(crate) id: u16,
    /// What a driver that does not know virtio takes it for.
    pub(crate) class: ClassCode,
    /// How many queues it has, at most 64.
    pub(crate) queues: usize,
}

/// Whoever serves the queues.
///
/// All but [`kick`](Self::kick) and what only tells something is called under a lock of the registers.
pub(crate) trait Serve<B: MsiBackend>: Send + Sync + 'static {
    /// The features that it offers.
    fn features(&self) -> u64;

    /// The device's configuration, which drivers read.
    fn config(&self) -> &[u8];

    /// The memory in which the queues lie.
    fn memory(&self) -> &GuestMemoryMmap;

    /// The device's interrupts.
    fn notifier(&self) -> &Notifier<B>;

    /// Whether nothing is served before a reset.
    fn needs_reset(&self) -> bool;

    /// The driver has something in a queue, if the queue exists.
    fn kick(&self, queue: usize);

    /// The driver has enabled a queue, which lies in memory as it must.
    fn enable(&self, index: usize, queue: Queue);

    /// The driver is ready, with these features.
    fn start(&self, features: u64);

    /// As after power-on. When it returns, no request of before is served any more.
    fn reset(&self);

    /// Whether the device may read and write memory. When it returns, it does not if it may not.
    fn set_bus_master(&self, allowed: bool);

    /// Takes a vector for a queue; what does not exist, or cannot be had, becomes NO_VECTOR, which the driver sees. When it
    /// returns, the queue does not signal by the one of before.
    fn set_queue_vector(&self, queue: usize, vector: u16);

    /// MSI-X Enable may have changed.
    fn msix_changed(&self);
}
