//! A vCPU as it travels. It must not run meanwhile, nor have an exit that is not completed.

use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry,
    kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd};
use serde::{Deserialize, Serialize};

use crate::machine::MachineError;

/// What KVM knows of a vCPU.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VcpuState {
    mp_state: kvm_mp_state,
    events: kvm_vcpu_events,
    regs: kvm_regs,
    sregs: kvm_sregs,
    debug_regs: kvm_debugregs,
    xcrs: kvm_xcrs,
    xsave: kvm_xsave,
    lapic: kvm_lapic_state,
    msrs: Vec<kvm_msr_entry>,
}

/// In a local APIC's page, the In-Service and Interrupt Request Registers: a bit for each vector, in 8 DWORDs that are
/// 16 bytes apart (Intel SDM volume 3, 12.8.4).
const VECTOR_REGISTERS: [usize; 2] = [0x100, 0x200];

impl VcpuState {
    /// Reads it. What KVM changes by being asked, pending INIT and SIPI, comes first.
    pub(super) fn save(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Self, MachineError> {
        Ok(Self {
            mp_state: vcpu.get_mp_state().map_err(failed("KVM_GET_MP_STATE"))?,
            events: vcpu.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?,
            regs: vcpu.get_regs().map_err(failed("KVM_GET_REGS"))?,
            sregs: vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?,
            debug_regs: vcpu.get_debug_regs().map_err(failed("KVM_GET_DEBUGREGS"))?,
            xcrs: vcpu.get_xcrs().map_err(failed("KVM_GET_XCRS"))?,
            xsave: vcpu.get_xsave().map_err(failed("KVM_GET_XSAVE"))?,
            lapic: vcpu.get_lapic().map_err(failed("KVM_GET_LAPIC"))?,
            msrs: read_msrs(kvm, vcpu)?,
        })
    }

    /// Writes it into a new vCPU that has its CPUID: the local APIC when SREGS have said in which mode it is, the
    /// MSRs after it, because one of them is its timer's deadline, and last what waits to be injected.
    pub(super) fn restore(&self, kvm: &Kvm, vcpu: &VcpuFd) -> Result<(), MachineError> {
        let Self { mp_state, events, regs, sregs, debug_regs, xcrs, xsave, lapic, msrs } = self;
        vcpu.set_regs(regs).map_err(failed("KVM_SET_REGS"))?;
        vcpu.set_sregs(sregs).map_err(failed("KVM_SET_SREGS"))?;
        vcpu.set_debug_regs(debug_regs).map_err(failed("KVM_SET_DEBUGREGS"))?;
        vcpu.set_xcrs(xcrs).map_err(failed("KVM_SET_XCRS"))?;
        // SAFETY: this process never asks for an XSAVE feature that has to be enabled for it, and
        // without one KVM reads no more than a `kvm_xsave` has.
        unsafe { vcpu.set_xsave(xsave) }.map_err(failed("KVM_SET_XSAVE"))?;
        vcpu.set_lapic(lapic).map_err(failed("KVM_SET_LAPIC"))?;
        write_msrs(kvm, vcpu, msrs)?;
        vcpu.set_mp_state(*mp_state).map_err(failed("KVM_SET_MP_STATE"))?;
        vcpu.set_vcpu_events(events).map_err(failed("KVM_SET_VCPU_EVENTS"))
    }

    /// Interrupts that were accepted and not acknowledged.
    pub(super) fn interrupts(&self) -> u32 {
        let dwords =
            VECTOR_REGISTERS.into_iter().flat_map(|first| (0..8).map(move |n| first + 16 * n));
        let bytes = dwords.flat_map(|dword| &self.lapic.regs[dword..dword + 4]);
        bytes.map(|byte| byte.cast_unsigned().count_ones()).sum()
    }

    /// Whether it was not halted.
    pub(super) fn at_work(&self) -> bool {
        self.mp_state.mp_state == KVM_MP_STATE_RUNNABLE
    }
}

/// Those that KVM lists. Some of a list may belong to a feature that this CPU has not: it cannot be read.
fn read_msrs(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Vec<kvm_msr_entry>, MachineError> {
    let list = kvm.get_msr_index_list().map_err(failed("KVM_GET_MSR_INDEX_LIST"))?;
    let mut left = list.as_slice();
    let mut msrs = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let entries: Vec<_> =
            left.iter().map(|&index| kvm_msr_entry { index, ..Default::default() }).collect();
        let mut batch = batch(&entries)?;
        // Stops at the first that it refuses.
        let read = vcpu.get_msrs(&mut batch).map_err(failed("KVM_GET_MSRS"))?;
        msrs.extend_from_slice(&batch.as_slice()[..read]);
        left = left.get(read + 1..).unwrap_or_default();
    }
    Ok(msrs)
}

/// Writes those that differ from what a new vCPU has: some cannot be written with what they have already.
fn write_msrs(kvm: &Kvm, vcpu: &VcpuFd, msrs: &[kvm_msr_entry]) -> Result<(), MachineError> {
    let new = read_msrs(kvm, vcpu)?;
    let changed: Vec<_> = msrs.iter().filter(|msr| !new.contains(msr)).copied().collect();
    let written = vcpu.set_msrs(&batch(&changed)?).map_err(failed("KVM_SET_MSRS"))?;
    match changed.get(written) {
        Some(refused) => {
            Err(MachineError::MsrRefused { index: refused.index, value: refused.data })
        }
        None => Ok(()),
    }
}

fn batch(entries: &[kvm_msr_entry]) -> Result<Msrs, MachineError> {
    Msrs::from_entries(entries).map_err(|_| MachineError::MsrCount { count: entries.len() })
}

fn failed(call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> MachineError {
    move |source| MachineError::Kvm { call, source }
}
