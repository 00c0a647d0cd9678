//! Every ioctl that this crate makes, and no other place makes one.

use kvm_bindings::{KVM_MSI_VALID_DEVID, KvmIrqRouting, kvm_irq_routing_entry, kvm_msi};
use kvm_ioctls::Cap;
use std::sync::Arc;
use vm_msix::MsiMessage;
use vmm_sys_util::errno;

use crate::counters::{Ioctl, IoctlCounters};
use crate::error::KvmError;
use crate::eventfd::Notifier;
use crate::route_table::Gsi;
use crate::sys::VmFd;
use crate::translate::RequesterId;

/// A VM, as far as interrupts go.
#[derive(Clone, Debug)]
pub(crate) struct Vm {
    fd: Arc<VmFd>,
    /// Whether KVM wants to know who sends a message.
    device_ids: bool,
    counters: Option<Arc<IoctlCounters>>,
}

/// What became of a message that was handed to KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injected {
    /// An APIC has it.
    Delivered,
    /// No APIC wants it: the destination does not exist or is switched off.
    NoTarget,
}

impl Vm {
    pub(crate) fn new(fd: Arc<VmFd>) -> Self {
        let device_ids = fd.check_extension(Cap::MsiDevid);
        Self { fd, device_ids, counters: None }
    }

    /// Counts every ioctl from now on.
    pub(crate) fn count_with(&mut self, counters: Arc<IoctlCounters>) {
        self.counters = Some(counters);
    }

    #[inline]
    fn count(&self, ioctl: Ioctl) {
        if let Some(counters) = &self.counters {
            counters.count(ioctl);
        }
    }

    /// `KVM_SIGNAL_MSI`.
    #[inline]
    pub(crate) fn signal_msi(
        &self,
        requester: RequesterId,
        message: MsiMessage,
    ) -> Result<Injected, KvmError> {
        let mut msi = kvm_msi {
            address_lo: message.address_low(),
            address_hi: message.address_high(),
            data: message.data,
            ..Default::default()
        };
        if self.device_ids {
            (msi.flags, msi.devid) = (KVM_MSI_VALID_DEVID, requester.0);
        }
        self.count(Ioctl::SignalMsi);
        match self.fd.signal_msi(msi) {
            Ok(0) => Ok(Injected::NoTarget),
            Ok(_) => Ok(Injected::Delivered),
            // KVM's "nobody", -1, where APICs differ in logical mode: ioctl(2) makes an errno of it.
            Err(source) if source.errno() == libc::EPERM => Ok(Injected::NoTarget),
            Err(source) => Err(KvmError::call("KVM_SIGNAL_MSI", source)),
        }
    }

    /// `KVM_SET_GSI_ROUTING`: replaces the whole table, or leaves it as it was.
    pub(crate) fn set_gsi_routing(&self, entries: &[kvm_irq_routing_entry]) -> errno::Result<()> {
        let table =
            KvmIrqRouting::from_entries(entries).map_err(|_| errno::Error::new(libc::E2BIG))?;
        self.count(Ioctl::SetGsiRouting);
        self.fd.set_gsi_routing(&table)
    }

    /// `KVM_IRQFD`: from now on KVM takes the signals of this eventfd, those that wait in it first.
    pub(crate) fn assign_irqfd(&self, notifier: &Notifier, gsi: Gsi) -> Result<(), KvmError> {
        self.count(Ioctl::IrqfdAssign);
        self.fd
            .register_irqfd(notifier.as_eventfd(), gsi.0)
            .map_err(|source| KvmError::call("KVM_IRQFD", source))
    }

    /// `KVM_IRQFD` with `DEASSIGN`: when it returns, no interrupt of this eventfd comes any more.
    pub(crate) fn deassign_irqfd(&self, notifier: &Notifier, gsi: Gsi) -> Result<(), KvmError> {
        self.count(Ioctl::IrqfdDeassign);
        self.fd
            .unregister_irqfd(notifier.as_eventfd(), gsi.0)
            .map_err(|source| KvmError::call("KVM_IRQFD deassign", source))
    }

    /// How many GSIs there are.
    pub(crate) fn gsi_limit(&self) -> u32 {
        u32::try_from(self.fd.check_extension_int(Cap::IrqRouting)).unwrap_or(0)
    }

    /// Whether messages carry their requester ID.
    pub(crate) fn has_device_ids(&self) -> bool {
        self.device_ids
    }
}
