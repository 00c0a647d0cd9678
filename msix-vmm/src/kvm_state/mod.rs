//! What KVM knows of a stopped VM, as it travels: its CPUs, and what they share. Everything goes through KVM's own get and set.
//!
//! To save: the CPUs have stopped, then the devices, and nothing is on its way between them ([`VcpuState::save`] reads local APICs).
//! To restore: memory first, for KVM writes its clock there; then [`SharedState`], then each [`VcpuState`].

mod shared;
mod vcpu;

pub(crate) use shared::SharedState;
pub(crate) use vcpu::VcpuState;

/// Why KVM's state cannot be had, or not be put back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KvmStateError {
    /// KVM refused a call.
    #[error("{call}: {source}")]
    Kvm { call: &'static str, source: kvm_ioctls::Error },
    /// A new vCPU does not take an MSR of the saved one.
    #[error("MSR {index:#x} cannot be {value:#x} here")]
    MsrRefused { index: u32, value: u64 },
    /// More MSRs than one call has room for.
    #[error("{count} MSRs are too many")]
    MsrCount { count: usize },
}

fn failed(call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> KvmStateError {
    move |source| KvmStateError::Kvm { call, source }
}
