//! What a routing table may expect of its users, whoever owns it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_msix_kvm::{Gsi, KvmError, MsiRoute, RouteTable, Router};

/// The router, which is told nothing of a GSI that its user does not have.
pub(crate) struct Table {
    router: Arc<Router>,
    /// Its lock is no scheduling point, and is held over none.
    gsis: Mutex<Gsis>,
}

#[derive(Default)]
struct Gsis {
    lent: BTreeSet<Gsi>,
    /// Those that the commit which goes on names.
    named: BTreeSet<Gsi>,
}

impl Table {
    pub(crate) fn new(router: Arc<Router>) -> Self {
        Self { router, gsis: Mutex::default() }
    }

    fn gsis(&self) -> MutexGuard<'_, Gsis> {
        self.gsis.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RouteTable for Table {
    fn allocate(&self) -> Result<Gsi, KvmError> {
        let gsi = self.router.allocate()?;
        assert!(self.gsis().lent.insert(gsi), "{gsi:?} is lent twice");
        Ok(gsi)
    }

    fn set(&self, routes: &[(Gsi, MsiRoute)], failed: &mut dyn FnMut(Gsi, KvmError)) {
        let mut gsis = self.gsis();
        assert!(gsis.named.is_empty(), "commits overlap");
        gsis.named = routes.iter().map(|(gsi, _)| *gsi).collect();
        assert!(gsis.named.is_subset(&gsis.lent), "a commit names a GSI that was given back");
        drop(gsis);
        self.router.set(routes, failed);
        self.gsis().named.clear();
    }

    fn release(&self, released: &[Gsi]) {
        let mut gsis = self.gsis();
        for gsi in released {
            assert!(!gsis.named.contains(gsi), "{gsi:?} is given back while a commit names it");
            assert!(gsis.lent.remove(gsi), "{gsi:?} is given back twice");
        }
        drop(gsis);
        self.router.release(released);
    }
}
