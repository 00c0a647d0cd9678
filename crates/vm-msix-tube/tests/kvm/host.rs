//! A VMM that serves device processes.

use std::sync::{Arc, mpsc};

use vm_msix::test_utils::GuestDriver;
use vm_msix::{MsixConfig, MsixObserver};
use vm_msix_kvm::{Committer, IoctlCounters, KvmMsi, Router};
use vm_msix_tube::{Quota, Server, SessionEnd, Tube, TubeBackend};

use crate::support::fixture::Fixture;

/// A function of a device process.
pub(crate) type Remote<O = ()> = MsixConfig<TubeBackend, O>;

/// The VMM.
pub(crate) struct Host {
    pub(crate) server: Server,
    pub(crate) fixture: Fixture,
    pub(crate) router: Arc<Router>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) counters: Arc<IoctlCounters>,
}

/// How a session ended.
pub(crate) type Ended = mpsc::Receiver<SessionEnd>;

impl Host {
    /// With a thread that commits; `None` where there is no KVM.
    pub(crate) fn new() -> Option<Self> {
        let fixture = Fixture::new()?;
        let counters = Arc::new(IoctlCounters::default());
        let router = Router::new(fixture.vm.clone(), Router::irqchip_entries())
            .with_ioctl_counters(counters.clone());
        let router = Arc::new(router);
        let committer = Committer::spawn(router.clone()).unwrap();
        Some(Self { server: Server::spawn().unwrap(), fixture, router, committer, counters })
    }

    pub(crate) fn delivery(&self) -> KvmMsi {
        self.fixture.delivery_by(self.committer.clone()).with_ioctl_counters(self.counters.clone())
    }

    /// A session, with this quota: the other end of its tube, and how it ends.
    pub(crate) fn serve(&self, vectors: u16) -> (Tube, Ended) {
        let (here, there) = Tube::pair().unwrap();
        let (tell, ended) = mpsc::channel();
        let quota = Quota { vectors };
        let ended_with = move |reason| tell.send(reason).unwrap_or_default();
        self.server.serve(here, self.delivery(), quota, ended_with).unwrap();
        (there, ended)
    }

    /// A function of a device process.
    pub(crate) fn function(&self, vectors: u16) -> Remote {
        let (tube, _) = self.serve(vectors);
        MsixConfig::new(vectors, tube, 0x1041_1af4, "remote").unwrap()
    }
}

/// The guest's driver, for as long as it does something.
pub(crate) fn guest<O: MsixObserver>(msix: &mut Remote<O>) -> GuestDriver<&mut Remote<O>> {
    GuestDriver::new(msix)
}
