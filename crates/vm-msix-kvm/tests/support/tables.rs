//! Routing tables other than the router: one that must not be asked, one that refuses, one that writes down.

use std::sync::{Arc, Mutex};

use vm_msix::MsiMessage;
use vm_msix_kvm::{Gsi, KvmError, MsiRoute, RouteTable, Router};
use vmm_sys_util::errno;

use super::taps::Log;

/// Fails the test whoever asks it: signal mode has no use for a table.
pub(crate) struct NoTable;

impl RouteTable for NoTable {
    fn allocate(&self) -> Result<Gsi, KvmError> {
        panic!("a GSI was asked for")
    }

    fn set(&self, routes: &[(Gsi, MsiRoute)], _failed: &mut dyn FnMut(Gsi, KvmError)) {
        panic!("routes were set: {routes:?}")
    }

    fn release(&self, gsis: &[Gsi]) {
        panic!("GSIs were released: {gsis:?}")
    }
}

/// The router, but it fails what it is told to fail.
pub(crate) struct Failing {
    router: Arc<Router>,
    /// Messages with this data fail with this error number.
    bad: Mutex<Option<(u32, i32)>>,
    no_gsis: Mutex<bool>,
}

impl Failing {
    pub(crate) fn new(router: Arc<Router>) -> Self {
        Self { router, bad: Mutex::new(None), no_gsis: Mutex::new(false) }
    }

    /// From now on routes with this message data fail.
    pub(crate) fn fail(&self, data: u32, errno: i32) {
        *self.bad.lock().unwrap() = Some((data, errno));
    }

    /// From now on routes are taken again.
    pub(crate) fn relent(&self) {
        *self.bad.lock().unwrap() = None;
    }

    /// Whether GSIs have run out.
    pub(crate) fn run_out(&self, yes: bool) {
        *self.no_gsis.lock().unwrap() = yes;
    }
}

impl RouteTable for Failing {
    fn allocate(&self) -> Result<Gsi, KvmError> {
        if *self.no_gsis.lock().unwrap() {
            return Err(KvmError::GsisExhausted { limit: 24 });
        }
        self.router.allocate()
    }

    fn set(&self, routes: &[(Gsi, MsiRoute)], failed: &mut dyn FnMut(Gsi, KvmError)) {
        let bad = *self.bad.lock().unwrap();
        let is_bad = |route: &MsiRoute| bad.is_some_and(|(data, _)| route.message.data == data);
        let (bad_ones, good): (Vec<_>, Vec<_>) =
            routes.iter().copied().partition(|(_, route)| is_bad(route));
        self.router.set(&good, failed);
        for (gsi, _) in bad_ones {
            let source = errno::Error::new(bad.unwrap().1);
            failed(gsi, KvmError::Route { gsi: gsi.0, source });
        }
    }

    fn release(&self, gsis: &[Gsi]) {
        self.router.release(gsis);
    }
}

/// What a table was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Allocate(Gsi),
    Set(Vec<(Gsi, MsiMessage)>),
    Release(Vec<Gsi>),
}

/// Called before each request is carried out.
type Inspect = Box<dyn Fn(&Asked) + Send + Sync>;

/// The router, with every request to it written down, and looked at while it is made.
pub(crate) struct Watched {
    router: Arc<Router>,
    pub(crate) log: Log<Asked>,
    inspect: Mutex<Option<Inspect>>,
}

impl Watched {
    pub(crate) fn new(router: Arc<Router>) -> Self {
        Self { router, log: Log::default(), inspect: Mutex::new(None) }
    }

    /// Looks at each request before it is carried out.
    pub(crate) fn inspect(&self, inspect: impl Fn(&Asked) + Send + Sync + 'static) {
        *self.inspect.lock().unwrap() = Some(Box::new(inspect));
    }

    fn note(&self, asked: Asked) {
        if let Some(inspect) = &*self.inspect.lock().unwrap() {
            inspect(&asked);
        }
        self.log.push(asked);
    }
}

impl RouteTable for Watched {
    fn allocate(&self) -> Result<Gsi, KvmError> {
        let gsi = self.router.allocate()?;
        self.note(Asked::Allocate(gsi));
        Ok(gsi)
    }

    fn set(&self, routes: &[(Gsi, MsiRoute)], failed: &mut dyn FnMut(Gsi, KvmError)) {
        self.note(Asked::Set(routes.iter().map(|(gsi, route)| (*gsi, route.message)).collect()));
        self.router.set(routes, failed);
    }

    fn release(&self, gsis: &[Gsi]) {
        self.note(Asked::Release(gsis.to_vec()));
        self.router.release(gsis);
    }
}
