//! A vector in irqfd mode: an eventfd that KVM listens to while the vector is open (C13).

use std::sync::Arc;

use vm_msix::{MsiMessage, Route, VectorIndex};

use crate::delivery::Target;
use crate::error::KvmError;
use crate::eventfd::Notifier;
use crate::ioctl::Vm;
use crate::route_table::{Gsi, RouteTable};
use crate::trigger_path::TriggerPath;

/// A vector whose latch is an eventfd.
#[derive(Debug)]
pub(crate) struct IrqfdVector {
    pub(crate) notifier: Arc<Notifier>,
    /// How many have the descriptor.
    pub(crate) holders: usize,
    /// The route that the vector has, as the registers see it.
    pub(crate) route: Route,
    /// Kept from the first opening to the release.
    gsi: Option<Gsi>,
    attachment: Attachment,
}

/// Who takes what comes into the eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attachment {
    /// Nobody: the counter is the latch. This is closed.
    Nobody,
    /// KVM, which sends this message.
    Kvm(Gsi, MsiMessage),
    /// The vector is open to something that is no APIC. Triggers of this process go to the memory-write hook and not
    /// here; what others write has left as a memory write that nobody sees.
    Elsewhere(Target),
}

impl IrqfdVector {
    /// Closed, with one holder.
    pub(crate) fn new() -> Result<Self, KvmError> {
        Ok(Self {
            notifier: Arc::new(Notifier::new()?),
            holders: 1,
            route: Route::Closed,
            gsi: None,
            attachment: Attachment::Nobody,
        })
    }

    /// Whether the counter is the latch, and so the Pending Bit.
    pub(crate) fn is_latch(&self) -> bool {
        self.attachment == Attachment::Nobody
    }

    /// Whether it is open towards this.
    pub(crate) fn is_open_to(&self, target: Target) -> bool {
        match self.attachment {
            Attachment::Nobody => false,
            Attachment::Kvm(_, message) => target == Target::Apic(message),
            Attachment::Elsewhere(now) => target == now,
        }
    }

    /// Lets nobody take what comes into the eventfd. When it returns, no interrupt of it comes any more.
    pub(crate) fn close(
        &mut self,
        vector: VectorIndex,
        path: &TriggerPath,
    ) -> Result<(), KvmError> {
        match self.attachment {
            Attachment::Nobody => {}
            Attachment::Kvm(gsi, _) => path.delivery().vm.deassign_irqfd(&self.notifier, gsi)?,
            Attachment::Elsewhere(_) => {
                path.close(vector);
                self.discard_what_left(path);
                path.lead_to_eventfd(vector, &self.notifier)?;
            }
        }
        (self.attachment, self.route) = (Attachment::Nobody, Route::Closed);
        Ok(())
    }

    /// The GSI of this vector, taken from the table when it first opens.
    pub(crate) fn gsi(&mut self, routes: &dyn RouteTable) -> Result<Gsi, KvmError> {
        match self.gsi {
            Some(gsi) => Ok(gsi),
            None => Ok(*self.gsi.insert(routes.allocate()?)),
        }
    }

    /// Opens a closed vector towards KVM, which has the GSI's route already: a signal that came in
    /// without a route would be lost.
    pub(crate) fn open_to_kvm(
        &mut self,
        vm: &Vm,
        gsi: Gsi,
        translated: MsiMessage,
        route: Route,
    ) -> Result<(), KvmError> {
        vm.assign_irqfd(&self.notifier, gsi)?;
        // KVM takes what waited in the counter but leaves the count. A write from now on is taken
        // together with its count, so what is there now has been taken and must not look pending later.
        self.notifier.drain();
        (self.attachment, self.route) = (Attachment::Kvm(gsi, translated), route);
        Ok(())
    }

    /// Opens a closed vector towards something that is no APIC: what waited is sent there.
    pub(crate) fn open_elsewhere(
        &mut self,
        vector: VectorIndex,
        path: &TriggerPath,
        target: Target,
        message: MsiMessage,
    ) -> Result<(), KvmError> {
        self.move_to_memory(vector, path);
        if let Err(error) = path.lead_to_message(vector, message) {
            path.lead_to_eventfd(vector, &self.notifier)?;
            return Err(error);
        }
        (self.attachment, self.route) = (Attachment::Elsewhere(target), Route::Open(message));
        Ok(())
    }

    /// Ends irqfd mode: the latch is in memory again, closed, and has what waited in the counter.
    pub(crate) fn retire(
        &mut self,
        vector: VectorIndex,
        path: &TriggerPath,
    ) -> Result<(), KvmError> {
        match self.attachment {
            // First the latch, so that no trigger of this process writes into an eventfd that
            // KVM has left.
            Attachment::Kvm(gsi, _) => {
                path.close(vector);
                if let Err(error) = path.delivery().vm.deassign_irqfd(&self.notifier, gsi) {
                    path.lead_to_eventfd(vector, &self.notifier)?;
                    return Err(error);
                }
                path.keep_in_memory(vector);
            }
            Attachment::Nobody => self.move_to_memory(vector, path),
            Attachment::Elsewhere(_) => {
                path.keep_in_memory(vector);
                self.discard_what_left(path);
            }
        }
        self.attachment = Attachment::Nobody;
        Ok(())
    }

    /// Gives the GSI up, if no irqfd is assigned to it.
    pub(crate) fn take_gsi(&mut self) -> Option<Gsi> {
        if matches!(self.attachment, Attachment::Kvm(..)) {
            return None;
        }
        self.gsi.take()
    }

    /// Moves what waits from the counter into the latch in memory, which is left closed.
    fn move_to_memory(&self, vector: VectorIndex, path: &TriggerPath) {
        path.keep_in_memory(vector);
        if self.notifier.drain() {
            // On a closed latch this keeps the signal, and cannot fail.
            let _ = path.signal(vector);
        }
    }

    /// Empties the counter of what was written while the vector was open towards memory.
    fn discard_what_left(&self, path: &TriggerPath) {
        if self.notifier.drain() {
            path.delivery().discard();
        }
    }
}
