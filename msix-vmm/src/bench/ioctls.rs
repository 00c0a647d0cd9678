//! How many ioctls of delivery there were.

use std::fmt;
use std::ops::Sub;

use serde::Serialize;

/// The ioctls by which interrupts are set up and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Ioctls {
    /// `KVM_SET_GSI_ROUTING`: commits of the routing table.
    pub(super) set_gsi_routing: u64,
    /// `KVM_IRQFD`.
    pub(super) irqfd_assign: u64,
    /// `KVM_IRQFD` with `DEASSIGN`.
    pub(super) irqfd_deassign: u64,
    /// `KVM_SIGNAL_MSI`.
    pub(super) signal_msi: u64,
}

impl Ioctls {
    /// None at all.
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Sub for Ioctls {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        let Self { set_gsi_routing, irqfd_assign, irqfd_deassign, signal_msi } = self;
        Self {
            set_gsi_routing: set_gsi_routing - before.set_gsi_routing,
            irqfd_assign: irqfd_assign - before.irqfd_assign,
            irqfd_deassign: irqfd_deassign - before.irqfd_deassign,
            signal_msi: signal_msi - before.signal_msi,
        }
    }
}

impl fmt::Display for Ioctls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { set_gsi_routing, irqfd_assign, irqfd_deassign, signal_msi } = self;
        write!(f, "{set_gsi_routing}/{irqfd_assign}/{irqfd_deassign}/{signal_msi}")
    }
}
