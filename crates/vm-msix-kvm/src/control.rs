//! What happens to vectors with descriptors, one at a time: the control path.

use std::collections::BTreeMap;
use std::sync::Arc;

use vm_msix::{Route, RouteEvent, VectorIndex};

use crate::delivery::Target;
use crate::error::KvmError;
use crate::eventfd::Notifier;
use crate::host::{Events, Host};
use crate::irqfd::{Aim, IrqfdVector};
use crate::route_table::Gsi;

/// What only the control path touches.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// The vectors in irqfd mode.
    pub(crate) irqfds: BTreeMap<VectorIndex, IrqfdVector>,
    /// What happened while nobody was there to be told.
    pub(crate) late: BTreeMap<VectorIndex, RouteEvent<KvmError>>,
}

impl Control {
    /// Gives vectors these routes. Those with an eventfd are closed altogether first, and their eventfds attached again with
    /// one commit of the routing table; then the latches open, and where one does not, its eventfd is detached: a
    /// vector is open for everybody or for nobody.
    pub(crate) fn apply(&mut self, host: &Host, changes: &[(VectorIndex, Route)]) -> Events {
        for (vector, _) in changes {
            self.late.remove(vector);
        }
        let mut events = Events::new();
        if self.irqfds.is_empty() {
            host.set_latches(changes, &mut events);
            return events;
        }
        let mut routes = changes.to_vec();
        self.close_irqfds(host, &mut routes, &mut events);
        self.attach(host, &mut routes, &mut events);
        let mut outcomes = Events::new();
        host.set_latches(&routes, &mut outcomes);
        for (vector, outcome) in outcomes {
            let detached = match outcome {
                RouteEvent::Delivered => Ok(()),
                _ => self.detach(host, vector),
            };
            events.push((vector, detached.map_or_else(RouteEvent::StillOpen, |()| outcome)));
        }
        events
    }

    /// Closes both latches of the vectors with an eventfd. Those that KVM does not let go of stay closed as far as
    /// can be.
    fn close_irqfds(
        &mut self,
        host: &Host,
        routes: &mut [(VectorIndex, Route)],
        events: &mut Events,
    ) {
        for (vector, route) in routes {
            if !self.irqfds.contains_key(vector) {
                continue;
            }
            host.set_latches(&[(*vector, Route::Closed)], events);
            match self.detach(host, *vector) {
                Ok(()) => self.remove_if_abandoned(host, *vector),
                Err(error) => {
                    events.push((*vector, RouteEvent::StillOpen(error)));
                    *route = Route::Closed;
                }
            }
        }
    }

    /// Finishes what KVM did not allow when the last holder went.
    fn remove_if_abandoned(&mut self, host: &Host, vector: VectorIndex) {
        if self.irqfds.get(&vector).is_some_and(|irqfd| irqfd.holders == 0)
            && let Ok(gsi) = self.demote(host, vector)
        {
            host.give_back(gsi);
        }
    }

    fn detach(&mut self, host: &Host, vector: VectorIndex) -> Result<(), KvmError> {
        match self.irqfds.get_mut(&vector) {
            Some(irqfd) => irqfd.detach(host.delivery()),
            None => Ok(()),
        }
    }

    /// Attaches the eventfds, if they have one, of vectors that are to open. Those that fail are to be closed
    /// instead.
    fn attach(&mut self, host: &Host, routes: &mut [(VectorIndex, Route)], events: &mut Events) {
        let mut aims = Vec::new();
        let mut failed = BTreeMap::new();
        for &mut (vector, route) in &mut *routes {
            match self.aim(host, vector, route) {
                Ok(aim) => aims.extend(aim),
                Err(error) => {
                    failed.insert(vector, error);
                }
            }
        }
        let mut refused = if aims.is_empty() { BTreeMap::new() } else { host.commit(&aims) };
        for Aim { vector, gsi, translated } in aims {
            let Some(irqfd) = self.irqfds.get_mut(&vector) else {
                continue;
            };
            let attached = match refused.remove(&gsi) {
                Some(error) => Err(error),
                None => irqfd.attach(&host.delivery().vm, gsi, translated),
            };
            if let Err(error) = attached {
                failed.insert(vector, error);
            }
        }
        for (vector, route) in routes {
            if let Some(error) = failed.remove(vector) {
                events.push((*vector, failure(error)));
                *route = Route::Closed;
            }
        }
    }

    /// What an opening vector with an eventfd needs from the routing table; `None` if nothing, or if there is no
    /// eventfd. What is in the counter goes to the latch, where it collapses with what is there.
    fn aim(
        &mut self,
        host: &Host,
        vector: VectorIndex,
        route: Route,
    ) -> Result<Option<Aim>, KvmError> {
        let (Route::Open(message), Some(irqfd)) = (route, self.irqfds.get_mut(&vector)) else {
            return Ok(None);
        };
        host.move_to_latch(vector, irqfd);
        match host.delivery().target(message)? {
            Target::Apic(translated) => {
                let gsi = irqfd.gsi(host.table())?;
                Ok(Some(Aim { vector, gsi, translated }))
            }
            target => {
                irqfd.lead_elsewhere(target);
                Ok(None)
            }
        }
    }

    /// Puts a vector into irqfd mode, with one holder. Its latch in memory does not notice.
    pub(crate) fn promote(
        &mut self,
        host: &Host,
        vector: VectorIndex,
    ) -> Result<Arc<Notifier>, KvmError> {
        let irqfd = IrqfdVector::new(host.table())?;
        let notifier = Arc::clone(&irqfd.notifier);
        self.irqfds.insert(vector, irqfd);
        let mut failed = Events::new();
        self.attach(host, &mut [(vector, host.signals.route(vector))], &mut failed);
        match failed.into_iter().find_map(|(_, event)| event.into_error()) {
            None => Ok(notifier),
            Some(error) => {
                let gsi = self.demote(host, vector)?;
                host.give_back(gsi);
                Err(error)
            }
        }
    }

    /// Puts a vector back into signal mode; what waits in its counter goes to its latch. Returns the GSI to give
    /// back. If KVM does not let go of the eventfd, it stays, without a holder.
    pub(crate) fn demote(
        &mut self,
        host: &Host,
        vector: VectorIndex,
    ) -> Result<Option<Gsi>, KvmError> {
        let Some(irqfd) = self.irqfds.get_mut(&vector) else {
            return Ok(None);
        };
        irqfd.detach(host.delivery())?;
        host.move_to_latch(vector, irqfd);
        let gsi = irqfd.take_gsi();
        self.irqfds.remove(&vector);
        Ok(gsi)
    }
}

/// What the core makes of a failure: never again with this message, or another time.
fn failure(error: KvmError) -> RouteEvent<KvmError> {
    if error.is_refusal() { RouteEvent::Refused(error) } else { RouteEvent::Exhausted(error) }
}
