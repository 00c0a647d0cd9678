//! A server, an honest device process that it serves, and hostile ones beside it.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, mpsc};

use vm_msix::test_utils::GuestDriver;
use vm_msix::{MsixConfig, Signal};
use vm_msix_tube::{Quota, Refusal, Server, SessionEnd, Tube, TubeBackend, Violation};

use super::support::raw::Raw;
use super::support::vmm::{Delivery, Faults, Vmm};
use super::support::wire::{Answer, Ask, Change, hello};
use super::support::{Ended, end_of, fds, message, until};

/// Vectors of everybody here, which is also their quota.
pub(crate) const VECTORS: u16 = 8;

/// A frame that cannot be read.
pub(crate) const FRAME: SessionEnd = violation(Violation::Frame);

pub(crate) const fn violation(violation: Violation) -> SessionEnd {
    SessionEnd::Refused(Refusal::Violation(violation))
}

/// The server and the honest one.
pub(crate) struct Site {
    pub(crate) server: Server,
    honest: MsixConfig<TubeBackend>,
    vmm: Arc<Vmm>,
    before: usize,
}

/// A hostile device process.
pub(crate) struct Hostile {
    pub(crate) raw: Raw,
    pub(crate) vmm: Arc<Vmm>,
    pub(crate) ended: Ended,
}

impl Site {
    pub(crate) fn new() -> Self {
        let server = Server::spawn().unwrap();
        let vmm = Vmm::new(VECTORS);
        let (here, there) = Tube::pair().unwrap();
        let quota = Quota { vectors: VECTORS };
        server.serve(here, Delivery(Arc::clone(&vmm)), quota, |_| {}).unwrap();
        let mut honest = MsixConfig::new(VECTORS, there, 0, "honest").unwrap();
        let messages: Vec<_> = (0..VECTORS).map(|vector| message(vector, 1)).collect();
        GuestDriver::new(&mut honest).bring_up(&messages);
        honest.flush().unwrap();
        let before = fds::count();
        let mut site = Self { server, honest, vmm, before };
        site.check();
        site
    }

    /// The honest one's signals arrive, each once, and its server answers.
    #[track_caller]
    pub(crate) fn check(&mut self) {
        for vector in 0..VECTORS {
            assert_eq!(self.honest.trigger(vector).unwrap(), Signal::HandedOver);
            assert_eq!(self.vmm.deliver(), [(vector, message(vector, 1))]);
            GuestDriver::new(&mut self.honest).mask(vector);
            assert_eq!(self.honest.trigger(vector).unwrap(), Signal::Latched);
            GuestDriver::new(&mut self.honest).unmask(vector);
            self.honest.flush().unwrap();
            assert_eq!(self.vmm.deliver(), [(vector, message(vector, 1))]);
        }
    }

    /// Everything that others had is given back.
    #[track_caller]
    pub(crate) fn expect_alone(&mut self) {
        until("the end of every other session", || self.server.sessions() == 1);
        fds::expect(self.before);
        self.check();
    }

    pub(crate) fn hostile(&self) -> Hostile {
        self.hostile_with(VECTORS, Faults::default())
    }

    pub(crate) fn hostile_with(&self, quota: u16, faults: Faults) -> Hostile {
        self.hostile_after(quota, faults, |_| {})
    }

    /// One that has done something before it is served.
    pub(crate) fn hostile_after(
        &self,
        quota: u16,
        faults: Faults,
        before: impl FnOnce(&mut Raw),
    ) -> Hostile {
        let vmm = Vmm::failing(VECTORS, faults, 0);
        let (here, there) = Tube::pair().unwrap();
        let mut raw = Raw::new(there.into_socket());
        before(&mut raw);
        let (tell, ended) = mpsc::channel();
        let tell = move |reason| tell.send(reason).unwrap_or_default();
        let quota = Quota { vectors: quota };
        self.server.serve(here, Delivery(Arc::clone(&vmm)), quota, tell).unwrap();
        Hostile { raw, vmm, ended }
    }

    /// A hostile one that begins like an honest one, with all its vectors open.
    pub(crate) fn greeted(&self) -> Hostile {
        let mut hostile = self.hostile();
        assert_eq!(hostile.raw.ask(hello(VECTORS), &[]), Some(Answer::Welcome));
        let eventfds: Vec<_> = (0..VECTORS).map(|_| fds::new()).collect();
        let changes =
            (0..VECTORS).map(|vector| super::support::wire::opens(vector, true)).collect();
        let borrowed: Vec<_> = eventfds.iter().map(std::os::fd::AsFd::as_fd).collect();
        let answer = hostile.raw.ask(Ask::SetRoutes(changes), &borrowed);
        assert!(matches!(answer, Some(Answer::Done { .. })), "{answer:?}");
        assert_eq!((hostile.vmm.open(), hostile.vmm.eventfds()), (8, 8));
        hostile
    }
}

impl Hostile {
    /// Asks for routes, and does not wait for the answer.
    pub(crate) fn set_routes(&mut self, changes: Vec<Change>, descriptors: &[BorrowedFd<'_>]) {
        self.raw.post(Ask::SetRoutes(changes), descriptors).unwrap();
    }

    /// The session ends, for this reason, and nothing of it is left.
    #[track_caller]
    pub(crate) fn expect(self, reason: SessionEnd) {
        assert_eq!(end_of(&self.ended), reason);
        assert_eq!((self.vmm.open(), self.vmm.eventfds()), (0, 0));
    }

    /// The same, and it is told why.
    #[track_caller]
    pub(crate) fn expect_told(self, reason: SessionEnd) {
        let mut last = None;
        while let Some(reply) = self.raw.answer() {
            last = Some(reply.answer);
        }
        let SessionEnd::Refused(refusal) = reason else { panic!("{reason:?} is not told") };
        assert_eq!(last, Some(Answer::Refused(refusal)));
        self.expect(reason);
    }
}
