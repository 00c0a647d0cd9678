//! How many ioctls were made: what delivery costs, for benches and for those who watch a VMM.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the ioctls of everything that shares it; share it as `Arc<IoctlCounters>`.
///
/// Hand it to a [`Router`](crate::Router::with_ioctl_counters) and to the functions
/// ([`KvmMsi::with_ioctl_counters`](crate::KvmMsi::with_ioctl_counters)). Who has none pays nothing; with one, a trigger
/// pays one atomic step more.
#[derive(Debug, Default)]
pub struct IoctlCounters {
    set_gsi_routing: AtomicU64,
    irqfd_assign: AtomicU64,
    irqfd_deassign: AtomicU64,
    signal_msi: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoctlCounts {
    /// `KVM_SET_GSI_ROUTING`.
    pub set_gsi_routing: u64,
    /// `KVM_IRQFD`.
    pub irqfd_assign: u64,
    /// `KVM_IRQFD` with `KVM_IRQFD_FLAG_DEASSIGN`.
    pub irqfd_deassign: u64,
    /// `KVM_SIGNAL_MSI`.
    pub signal_msi: u64,
}

/// One of the ioctls that are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ioctl {
    SetGsiRouting,
    IrqfdAssign,
    IrqfdDeassign,
    SignalMsi,
}

impl IoctlCounters {
    /// The counts now.
    pub fn counts(&self) -> IoctlCounts {
        // Relaxed, here and below: numbers that order nothing.
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        IoctlCounts {
            set_gsi_routing: count(&self.set_gsi_routing),
            irqfd_assign: count(&self.irqfd_assign),
            irqfd_deassign: count(&self.irqfd_deassign),
            signal_msi: count(&self.signal_msi),
        }
    }

    pub(crate) fn count(&self, ioctl: Ioctl) {
        let counter = match ioctl {
            Ioctl::SetGsiRouting => &self.set_gsi_routing,
            Ioctl::IrqfdAssign => &self.irqfd_assign,
            Ioctl::IrqfdDeassign => &self.irqfd_deassign,
            Ioctl::SignalMsi => &self.signal_msi,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
