//! What a VMM describes once per VM, and every function gets its backend from.

use std::fmt;
use std::sync::Arc;

use vm_msix::{IntoBackend, VectorCount};

use crate::backend::KvmBackend;
use crate::committer::Committer;
use crate::counters::IoctlCounters;
use crate::delivery::{Delivery, Losses, MemoryWrite};
use crate::error::KvmError;
use crate::ioctl::Vm;
use crate::sys::VmFd;
use crate::translate::{DestinationIds, RequesterId, Translate};

/// Delivery through KVM: the source of a function's [`KvmBackend`].
///
/// ```no_run
/// use std::sync::Arc;
/// use vm_msix::MsixConfig;
/// use vm_msix_kvm::{Committer, KvmMsi, RequesterId, Router};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let vm = Arc::new(kvm_ioctls::Kvm::new()?.create_vm()?);
/// vm.create_irq_chip()?;
/// // One per VM:
/// let router = Arc::new(Router::new(vm.clone(), Router::irqchip_entries()));
/// let committer = Committer::spawn(router)?;
/// // One per function:
/// let kvm = KvmMsi::new(vm, committer).with_requester(RequesterId::pci(0, 3, 0));
/// let msix = MsixConfig::new(9, kvm, 0x1041_1af4, "net0")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KvmMsi {
    delivery: Delivery,
    committer: Arc<Committer>,
}

impl KvmMsi {
    /// Delivery to this VM. The committer is asked only for vectors that are put on a descriptor.
    ///
    /// Without more said: requester ID 0, 8-bit destination IDs, no translation, and messages to memory
    /// are discarded and counted.
    pub fn new(vm: Arc<VmFd>, committer: Arc<Committer>) -> Self {
        let delivery = Delivery {
            vm: Vm::new(vm),
            requester: RequesterId::default(),
            destination_ids: DestinationIds::default(),
            translate: None,
            memory_write: None,
            losses: Arc::new(Losses::default()),
        };
        Self { delivery, committer }
    }

    /// The function's requester ID.
    pub fn with_requester(mut self, requester: RequesterId) -> Self {
        self.delivery.requester = requester;
        self
    }

    /// How many bits of destination ID the VM was set up for.
    pub fn with_destination_ids(mut self, destination_ids: DestinationIds) -> Self {
        self.delivery.destination_ids = destination_ids;
        self
    }

    /// Translates messages on their way.
    pub fn with_translate(mut self, translate: impl Translate + 'static) -> Self {
        self.delivery.translate = Some(Arc::new(translate));
        self
    }

    /// Counts the functions' ioctls.
    pub fn with_ioctl_counters(mut self, counters: Arc<IoctlCounters>) -> Self {
        self.delivery.vm.count_with(counters);
        self
    }

    /// Takes messages that go to memory.
    pub fn with_memory_write(mut self, memory_write: impl MemoryWrite + 'static) -> Self {
        self.delivery.memory_write = Some(Arc::new(memory_write));
        self
    }
}

impl IntoBackend for KvmMsi {
    type Backend = KvmBackend;
    type Error = KvmError;

    fn into_backend(self, vectors: VectorCount) -> Result<KvmBackend, KvmError> {
        let Self { mut delivery, committer } = self;
        // Each function counts its own.
        delivery.losses = Arc::new(Losses::default());
        Ok(KvmBackend::new(vectors, delivery, committer))
    }
}

impl fmt::Debug for KvmMsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvmMsi").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}
