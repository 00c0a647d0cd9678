//! Functions on KVM: the one file here that knows vm-msix-kvm.

use std::sync::Arc;

use kvm_ioctls::VmFd;
use vm_msix::MsixConfig;
use vm_msix_kvm::{Committer, IoctlCounters, IoctlCounts, Irqfd, KvmBackend, KvmMsi, Router};

use super::host::Host;
use super::ioctls::Ioctls;
use super::measure::Outcome;
use super::vm::BareVm;

/// Whether the ioctls of a host are counted. What is timed is not: counting has a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    Off,
    On,
}

/// A VM, with its router and the thread that commits.
pub(super) struct KvmHost {
    source: KvmMsi,
    committer: Arc<Committer>,
    counters: Arc<IoctlCounters>,
    _vm: Option<BareVm>,
}

impl KvmHost {
    /// With a VM of its own.
    pub(super) fn new(counting: Counting) -> Outcome<Self> {
        let vm = BareVm::new()?;
        let host = Self::on(vm.fd.clone(), counting)?;
        Ok(Self { _vm: Some(vm), ..host })
    }

    /// On this VM.
    pub(super) fn on(vm: Arc<VmFd>, counting: Counting) -> Outcome<Self> {
        let counters = Arc::new(IoctlCounters::default());
        let mut router = Router::new(vm.clone(), Router::irqchip_entries());
        if counting == Counting::On {
            router = router.with_ioctl_counters(counters.clone());
        }
        let committer = Committer::spawn(Arc::new(router))?;
        let mut source = KvmMsi::new(vm, committer.clone());
        if counting == Counting::On {
            source = source.with_ioctl_counters(counters.clone());
        }
        Ok(Self { source, committer, counters, _vm: None })
    }

    /// What a function's backend is made from.
    pub(super) fn source(&self) -> KvmMsi {
        self.source.clone()
    }
}

impl Host for KvmHost {
    type Backend = KvmBackend;
    type Descriptor = Irqfd;

    fn function(&self, vectors: u16) -> Outcome<MsixConfig<KvmBackend>> {
        Ok(MsixConfig::new(vectors, self.source(), 0, "bench")?)
    }

    fn descriptor(&self, msix: &MsixConfig<KvmBackend>, vector: u16) -> Outcome<Irqfd> {
        Ok(msix.get_irqfd(vector.into())?)
    }

    fn together<T>(&self, work: impl FnOnce() -> T) -> T {
        let _batch = self.committer.batch();
        work()
    }

    fn ioctls(&self) -> Ioctls {
        read(&self.counters)
    }

    fn finish(self) -> Ioctls {
        let Self { source, committer, counters, _vm } = self;
        // The last to let go of the committer waits for its thread.
        drop((source, committer));
        read(&counters)
    }

    fn is_kvm(&self) -> bool {
        true
    }
}

fn read(counters: &IoctlCounters) -> Ioctls {
    let IoctlCounts { set_gsi_routing, irqfd_assign, irqfd_deassign, signal_msi } =
        counters.counts();
    Ioctls { set_gsi_routing, irqfd_assign, irqfd_deassign, signal_msi }
}
