//! A stopped VM as it travels: memory, and what KVM knows of it.

use serde::{Deserialize, Serialize};

use super::areas::Page;
use super::vm::ApicMode;
use crate::kvm_state::{SharedState, VcpuState};

/// A VM that was saved.
///
/// CPUID is not in it: the destination makes it anew, as on the same host it is the same.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VmState {
    pub(super) apic_mode: ApicMode,
    /// The pages of memory that are not all zero.
    pub(super) memory: Vec<Page>,
    pub(super) shared: SharedState,
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
