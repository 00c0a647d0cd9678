//! A stopped VM as it travels: memory, interrupt controllers, CPUs. Everything goes through KVM's own get and set.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip,
};
use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};

use super::areas::Page;
use super::vcpu_state::VcpuState;
use super::vm::ApicMode;
use crate::machine::MachineError;

/// A VM that was saved.
///
/// CPUID is not in it: the destination makes it anew, as on the same host it is the same.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VmState {
    pub(super) apic_mode: ApicMode,
    /// The pages of memory that are not all zero.
    pub(super) memory: Vec<Page>,
    /// PICs and IOAPIC.
    pub(super) irqchips: Vec<kvm_irqchip>,
    pub(super) vcpus: Vec<VcpuState>,
}

impl VmState {
    /// Interrupts that CPUs have accepted and not acknowledged: in a local APIC, or between it and the CPU.
    pub(crate) fn interrupts_in_apics(&self) -> u32 {
        self.vcpus.iter().map(VcpuState::interrupts).sum()
    }

    /// CPUs that were stopped between two instructions of their own, and not halted.
    pub(crate) fn cpus_at_work(&self) -> usize {
        self.vcpus.iter().filter(|vcpu| vcpu.at_work()).count()
    }
}

/// The interrupt controllers beside the local APICs.
pub(super) fn save_irqchips(vm: &VmFd) -> Result<Vec<kvm_irqchip>, MachineError> {
    let save = |chip_id| {
        let mut chip = kvm_irqchip { chip_id, ..Default::default() };
        vm.get_irqchip(&mut chip)
            .map_err(|source| MachineError::Kvm { call: "KVM_GET_IRQCHIP", source })?;
        Ok(chip)
    };
    [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC]
        .map(save)
        .into_iter()
        .collect()
}

/// Puts them into a new VM.
pub(super) fn restore_irqchips(vm: &VmFd, chips: &[kvm_irqchip]) -> Result<(), MachineError> {
    chips.iter().try_for_each(|chip| {
        vm.set_irqchip(chip).map_err(|source| MachineError::Kvm { call: "KVM_SET_IRQCHIP", source })
    })
}
