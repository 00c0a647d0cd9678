//! Who owns the VM's GSIs and its routing table: this crate's [`Router`](crate::Router), or the VMM itself.

use std::sync::Arc;

use vm_msix::MsiMessage;

use crate::error::KvmError;
use crate::translate::RequesterId;

/// A global system interrupt: the number that ties an irqfd to an entry of the routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gsi(pub u32);

impl Gsi {
    /// As the index of an array by number.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An entry of the routing table for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsiRoute {
    /// What is sent, translated already.
    pub message: MsiMessage,
    /// Who sends it.
    pub requester: RequesterId,
}

/// The VM's GSIs and routing table. KVM has one table per VM and replaces it as a whole, so it has one owner.
///
/// A VMM that keeps the table itself implements this; else it makes one [`Router`](crate::Router) per VM and
/// shares it among its functions.
///
/// # Threading
///
/// Called by the control path of every function, from any thread; never by a trigger.
pub trait RouteTable: Send + Sync {
    /// Takes a GSI that is nobody else's. It has no route yet.
    ///
    /// # Errors
    ///
    /// [`KvmError::GsisExhausted`].
    fn allocate(&self) -> Result<Gsi, KvmError>;

    /// Gives GSIs these routes: one commit for all. A route that KVM refuses is reported and leaves its GSI as it
    /// was; the others stand.
    fn set(&self, routes: &[(Gsi, MsiRoute)], failed: &mut dyn FnMut(Gsi, KvmError));

    /// Takes GSIs back, with their routes. No irqfd may be assigned to them any more: a route that vanishes
    /// under a live irqfd has crashed hosts.
    fn release(&self, gsis: &[Gsi]);
}

impl<T: RouteTable + ?Sized> RouteTable for Arc<T> {
    fn allocate(&self) -> Result<Gsi, KvmError> {
        (**self).allocate()
    }

    fn set(&self, routes: &[(Gsi, MsiRoute)], failed: &mut dyn FnMut(Gsi, KvmError)) {
        (**self).set(routes, failed);
    }

    fn release(&self, gsis: &[Gsi]) {
        (**self).release(gsis);
    }
}
