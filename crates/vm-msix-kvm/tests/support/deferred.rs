//! A VM whose routes are committed later: when the test says so, or by a thread that the test can hold up.

use std::sync::Arc;

use vm_msix_kvm::{Committer, IoctlCounters, Irqfd, KvmMsi, Router};
use vmm_sys_util::eventfd::EventFd;

use super::fixture::{Fixture, function};
use super::gated::Gated;
use super::producer::{Producer, is_assigned};
use super::{Msix, to_apic};

/// A VM, its table, and who commits.
pub(crate) struct Deferred {
    pub(crate) fixture: Fixture,
    pub(crate) table: Arc<Gated>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) counters: Arc<IoctlCounters>,
}

impl Deferred {
    /// Nothing is committed until the test calls `run_pending`.
    pub(crate) fn polled() -> Option<Self> {
        Self::with(|table| Committer::polled(table).unwrap())
    }

    /// A thread commits.
    pub(crate) fn spawned() -> Option<Self> {
        Self::with(|table| Committer::spawn(table).unwrap())
    }

    /// Whoever changes a route commits it.
    pub(crate) fn immediate() -> Option<Self> {
        Self::with(|table| Committer::immediate(table))
    }

    fn with(committer: impl FnOnce(Arc<Gated>) -> Arc<Committer>) -> Option<Self> {
        let mut fixture = Fixture::new()?;
        let counters = Arc::new(IoctlCounters::default());
        let router = Router::new(fixture.vm.clone(), Router::irqchip_entries());
        fixture.router = Arc::new(router.with_ioctl_counters(counters.clone()));
        let table = Arc::new(Gated::new(fixture.router.clone()));
        let committer = committer(table.clone());
        Some(Self { fixture, table, committer, counters })
    }

    pub(crate) fn delivery(&self) -> KvmMsi {
        self.fixture.delivery_by(self.committer.clone()).with_ioctl_counters(self.counters.clone())
    }

    pub(crate) fn function(&self, vectors: u16) -> Msix {
        function(vectors, self.delivery())
    }

    /// A function that is enabled, each vector on a descriptor, masked, and programmed with interrupt 0x40 and on.
    pub(crate) fn function_on_descriptors(&self, vectors: u16) -> (Msix, Vec<Irqfd>) {
        let mut msix = self.function(vectors);
        let guards = (0..vectors).map(|vector| msix.get_irqfd(vector.into()).unwrap()).collect();
        let mut guest = super::guest(&mut msix);
        guest.enable();
        for vector in 0..vectors {
            guest.program(vector, message(vector));
        }
        (msix, guards)
    }

    /// Whether KVM listens. Where it does not, this empties the eventfd; and while somebody may be committing it
    /// is in the way, for KVM takes no eventfd twice.
    pub(crate) fn is_assigned(&self, guard: &Irqfd) -> bool {
        is_assigned(&self.fixture.vm, &eventfd(guard))
    }

    /// How many commits KVM has seen since the last look at this number.
    pub(crate) fn commits_of_kvm(&self) -> u64 {
        self.counters.counts().set_gsi_routing
    }
}

/// What each vector is programmed with.
pub(crate) fn message(vector: u16) -> vm_msix::MsiMessage {
    to_apic(0, 0x40 + (vector % 64) as u8)
}

pub(crate) fn eventfd(guard: &Irqfd) -> EventFd {
    Producer::of(guard).into_eventfd()
}
