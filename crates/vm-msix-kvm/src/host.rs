//! What a function's backend acts through: its latches, and the VM's routing table.

use std::collections::BTreeMap;
use std::sync::Arc;

use vm_msix::{MsiBackend, Route, RouteEvent, SignalBackend, VectorIndex};

use crate::delivery::Delivery;
use crate::error::KvmError;
use crate::futex::Futex;
use crate::irqfd::{Aim, IrqfdVector};
use crate::route_table::{Gsi, MsiRoute, RouteTable};

/// Signal mode for every vector, and the table for those that have a descriptor.
pub(crate) struct Host {
    pub(crate) signals: SignalBackend<Delivery, Futex>,
    pub(crate) table: Arc<dyn RouteTable>,
}

/// What happened to vectors, to be told when no lock is held.
pub(crate) type Events = Vec<(VectorIndex, RouteEvent<KvmError>)>;

impl Host {
    pub(crate) fn delivery(&self) -> &Delivery {
        self.signals.sender()
    }

    pub(crate) fn table(&self) -> &dyn RouteTable {
        &*self.table
    }

    /// Gives the latches in memory these routes.
    pub(crate) fn set_latches(&self, routes: &[(VectorIndex, Route)], events: &mut Events) {
        self.signals.set_routes(routes, &mut |vector, event| events.push((vector, event)));
    }

    /// One commit for all; returns what was refused.
    pub(crate) fn commit(&self, aims: &[Aim]) -> BTreeMap<Gsi, KvmError> {
        let requester = self.delivery().requester;
        let route = |aim: &Aim| (aim.gsi, MsiRoute { message: aim.translated, requester });
        let routes: Vec<_> = aims.iter().map(route).collect();
        let mut refused = BTreeMap::new();
        self.table().set(&routes, &mut |gsi, error| {
            refused.insert(gsi, error);
        });
        refused
    }

    /// Moves what a detached eventfd keeps to the latch, where it collapses with what is there.
    pub(crate) fn move_to_latch(&self, vector: VectorIndex, irqfd: &IrqfdVector) {
        if irqfd.notifier.drain() {
            // On a closed latch this cannot fail. An open one has nothing here to be moved, but for a producer
            // that has outlived its guard.
            let _ = self.signals.signal(vector);
        }
    }

    /// Gives GSIs back that no irqfd is assigned to.
    pub(crate) fn give_back(&self, gsis: impl IntoIterator<Item = Gsi>) {
        let gsis: Vec<_> = gsis.into_iter().collect();
        if !gsis.is_empty() {
            self.table().release(&gsis);
        }
    }
}
