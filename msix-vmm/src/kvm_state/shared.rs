//! What the CPUs of a VM share: the interrupt controllers beside the local APICs, and the clock.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_clock_data, kvm_irqchip,
};
use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};

use super::{KvmStateError, failed};

/// PICs and IOAPIC.
const CHIPS: [u32; 3] = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];

/// The PICs, the IOAPIC, and how many nanoseconds KVM's clock has counted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SharedState {
    irqchips: Vec<kvm_irqchip>,
    clock: u64,
}

impl SharedState {
    /// Reads it.
    pub(crate) fn save(vm: &VmFd) -> Result<Self, KvmStateError> {
        let chip = |chip_id| {
            let mut chip = kvm_irqchip { chip_id, ..Default::default() };
            vm.get_irqchip(&mut chip).map_err(failed("KVM_GET_IRQCHIP"))?;
            Ok(chip)
        };
        Ok(Self {
            irqchips: CHIPS.into_iter().map(chip).collect::<Result<_, _>>()?,
            clock: vm.get_clock().map_err(failed("KVM_GET_CLOCK"))?.clock,
        })
    }

    /// Puts it into a new VM. For the guest no time has passed.
    pub(crate) fn restore(&self, vm: &VmFd) -> Result<(), KvmStateError> {
        let Self { irqchips, clock } = self;
        let clock = kvm_clock_data { clock: *clock, ..Default::default() };
        vm.set_clock(&clock).map_err(failed("KVM_SET_CLOCK"))?;
        irqchips.iter().try_for_each(|chip| vm.set_irqchip(chip).map_err(failed("KVM_SET_IRQCHIP")))
    }
}
