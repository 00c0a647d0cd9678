//! A vector in irqfd mode: an eventfd that KVM listens to while the vector is open (C13).

use std::sync::Arc;

use vm_msix::{MsiMessage, VectorIndex};

use crate::delivery::{Delivery, Target};
use crate::error::KvmError;
use crate::eventfd::Notifier;
use crate::ioctl::Vm;
use crate::route_table::{Gsi, RouteTable};

/// A vector that has an eventfd beside its latch in memory.
#[derive(Debug)]
pub(crate) struct IrqfdVector {
    pub(crate) notifier: Arc<Notifier>,
    /// How many have the descriptor.
    pub(crate) holders: usize,
    /// Kept until the release.
    gsi: Option<Gsi>,
    attachment: Attachment,
}

/// Who takes what comes into the eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attachment {
    /// Nobody: the counter keeps it.
    Nobody,
    /// KVM, which sends this message.
    Kvm(Gsi, MsiMessage),
    /// Nobody, though the vector is open: it leads to no APIC. What comes has left as a memory write that nobody sees.
    Elsewhere(Target),
}

impl IrqfdVector {
    /// Closed, with one holder. It takes a GSI at once, so that whoever asks learns if there is none.
    pub(crate) fn new(table: &dyn RouteTable) -> Result<Self, KvmError> {
        Ok(Self {
            notifier: Arc::new(Notifier::new()?),
            holders: 1,
            gsi: Some(table.allocate()?),
            attachment: Attachment::Nobody,
        })
    }

    /// Whether the counter keeps what comes, and is part of the Pending Bit.
    pub(crate) fn keeps(&self) -> bool {
        self.attachment == Attachment::Nobody
    }

    /// Whether it leads there now.
    pub(crate) fn leads_to(&self, target: Target) -> bool {
        match self.attachment {
            Attachment::Nobody => false,
            Attachment::Kvm(_, message) => target == Target::Apic(message),
            Attachment::Elsewhere(now) => target == now,
        }
    }

    /// Lets nobody take what comes. When it returns, no interrupt of the eventfd comes any more.
    pub(crate) fn detach(&mut self, delivery: &Delivery) -> Result<(), KvmError> {
        match self.attachment {
            Attachment::Nobody => {}
            // KVM takes what is in the counter with it: that has been injected.
            Attachment::Kvm(gsi, _) => delivery.vm.deassign_irqfd(&self.notifier, gsi)?,
            Attachment::Elsewhere(target) => {
                if self.notifier.drain() {
                    delivery.lose(target);
                }
            }
        }
        self.attachment = Attachment::Nobody;
        Ok(())
    }

    /// The GSI, taken anew if a release gave it back.
    pub(crate) fn gsi(&mut self, table: &dyn RouteTable) -> Result<Gsi, KvmError> {
        match self.gsi {
            Some(gsi) => Ok(gsi),
            None => Ok(*self.gsi.insert(table.allocate()?)),
        }
    }

    /// Lets KVM take what comes. The GSI must have its route already, for an event without one is lost.
    pub(crate) fn attach(
        &mut self,
        vm: &Vm,
        gsi: Gsi,
        translated: MsiMessage,
    ) -> Result<(), KvmError> {
        vm.assign_irqfd(&self.notifier, gsi)?;
        self.attachment = Attachment::Kvm(gsi, translated);
        Ok(())
    }

    /// Lets what comes leave towards something that is no APIC.
    pub(crate) fn lead_elsewhere(&mut self, target: Target) {
        self.attachment = Attachment::Elsewhere(target);
    }

    /// Gives the GSI up, if no irqfd is assigned to it.
    pub(crate) fn take_gsi(&mut self) -> Option<Gsi> {
        match self.attachment {
            Attachment::Kvm(..) => None,
            Attachment::Nobody | Attachment::Elsewhere(_) => self.gsi.take(),
        }
    }
}

/// One vector of a batch that KVM shall take the signals of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    pub(crate) vector: VectorIndex,
    pub(crate) gsi: Gsi,
    pub(crate) translated: MsiMessage,
}
