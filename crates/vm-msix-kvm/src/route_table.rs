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
/// [`set`](Self::set) is called by whoever commits, one call at a time for each committer, while no lock is held that a register write needs. The other two are
/// called by register writes: they must not wait for a `set` that goes on, or vCPUs wait for commits. None is called
/// by a trigger. None may call into a function or its descriptors.
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

    /// Takes GSIs back, with their routes, which the next commit may leave out. No irqfd is assigned to them any more: a
    /// route that vanishes under a live irqfd has crashed hosts. A [`set`](Self::set) that goes on names none of them.
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
