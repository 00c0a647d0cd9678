//! A vCPU as it travels. It must not run meanwhile, nor have an exit that is not completed.

use std::ops::RangeInclusive;

use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry,
    kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd};
use serde::{Deserialize, Serialize};

use super::{KvmStateError, failed};

/// `IA32_TIME_STAMP_COUNTER`: before the local APIC, whose timer is set by it.
const TSC: u32 = 0x10;
/// `IA32_TSC_DEADLINE`: after the local APIC, which takes it only in that mode, and after all else.
const TSC_DEADLINE: u32 = 0x6e0;
/// Memory types by address, which KVM has and does not list: variable ranges, fixed ranges, and the default.
const MTRRS: [RangeInclusive<u32>; 5] =
    [0x200..=0x20f, 0x250..=0x250, 0x258..=0x259, 0x268..=0x26f, 0x2ff..=0x2ff];
/// MSRs that one call takes: KVM's limit is 256.
const MSRS_AT_ONCE: usize = 128;

/// What KVM knows of a vCPU.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VcpuState {
    mp_state: kvm_mp_state,
    events: kvm_vcpu_events,
    regs: kvm_regs,
    sregs: kvm_sregs,
    debug_regs: kvm_debugregs,
    xcrs: kvm_xcrs,
    xsave: kvm_xsave,
    lapic: kvm_lapic_state,
    tsc_khz: u32,
    msrs: Vec<kvm_msr_entry>,
}

/// In a local APIC's page, the In-Service and Interrupt Request Registers: a bit for each vector, in 8 DWORDs that are
/// 16 bytes apart (Intel SDM volume 3, 12.8.4).
const VECTOR_REGISTERS: [usize; 2] = [0x100, 0x200];

impl VcpuState {
    /// Reads it. What KVM changes by being asked, pending INIT and SIPI, comes first.
    pub(crate) fn save(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Self, KvmStateError> {
        Ok(Self {
            mp_state: vcpu.get_mp_state().map_err(failed("KVM_GET_MP_STATE"))?,
            events: vcpu.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?,
            regs: vcpu.get_regs().map_err(failed("KVM_GET_REGS"))?,
            sregs: vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?,
            debug_regs: vcpu.get_debug_regs().map_err(failed("KVM_GET_DEBUGREGS"))?,
            xcrs: vcpu.get_xcrs().map_err(failed("KVM_GET_XCRS"))?,
            xsave: vcpu.get_xsave().map_err(failed("KVM_GET_XSAVE"))?,
            lapic: vcpu.get_lapic().map_err(failed("KVM_GET_LAPIC"))?,
            tsc_khz: vcpu.get_tsc_khz().map_err(failed("KVM_GET_TSC_KHZ"))?,
            msrs: read_msrs(kvm, vcpu)?,
        })
    }

    /// Writes it into a new vCPU that has its CPUID: the local APIC when SREGS have said in which mode it is and the
    /// TSC what time it is, the deadline of its timer when all else is there, and last what waits to be injected.
    pub(crate) fn restore(&self, kvm: &Kvm, vcpu: &VcpuFd) -> Result<(), KvmStateError> {
        let Self { mp_state, events, regs, sregs, debug_regs, xcrs, xsave, lapic, tsc_khz, msrs } =
            self;
        vcpu.set_regs(regs).map_err(failed("KVM_SET_REGS"))?;
        vcpu.set_sregs(sregs).map_err(failed("KVM_SET_SREGS"))?;
        vcpu.set_debug_regs(debug_regs).map_err(failed("KVM_SET_DEBUGREGS"))?;
        // Without XSAVE there are none, and KVM refuses to be told so.
        if xcrs.nr_xcrs > 0 {
            vcpu.set_xcrs(xcrs).map_err(failed("KVM_SET_XCRS"))?;
        }
        // SAFETY: this process never asks for an XSAVE feature that has to be enabled for it, and
        // without one KVM reads no more than a `kvm_xsave` has.
        unsafe { vcpu.set_xsave(xsave) }.map_err(failed("KVM_SET_XSAVE"))?;
        set_tsc_khz(vcpu, *tsc_khz)?;
        let new = read_msrs(kvm, vcpu)?;
        // Some cannot be written with what they have already.
        let changed = |msr: &&kvm_msr_entry| !new.contains(msr);
        let changed: Vec<_> = msrs.iter().filter(changed).copied().collect();
        let write = |which: &dyn Fn(u32) -> bool| {
            let msrs: Vec<_> = changed.iter().filter(|msr| which(msr.index)).copied().collect();
            write_msrs(vcpu, &msrs)
        };
        write(&|msr| msr == TSC)?;
        vcpu.set_lapic(lapic).map_err(failed("KVM_SET_LAPIC"))?;
        write(&|msr| !matches!(msr, TSC | TSC_DEADLINE))?;
        write(&|msr| msr == TSC_DEADLINE)?;
        vcpu.set_mp_state(*mp_state).map_err(failed("KVM_SET_MP_STATE"))?;
        vcpu.set_vcpu_events(events).map_err(failed("KVM_SET_VCPU_EVENTS"))?;
        tell_that_it_was_stopped(vcpu)
    }

    /// Interrupts that were accepted and not acknowledged.
    pub(crate) fn interrupts(&self) -> u32 {
        let dwords =
            VECTOR_REGISTERS.into_iter().flat_map(|first| (0..8).map(move |n| first + 16 * n));
        let bytes = dwords.flat_map(|dword| &self.lapic.regs[dword..dword + 4]);
        bytes.map(|byte| byte.cast_unsigned().count_ones()).sum()
    }

    /// Whether it was not halted.
    pub(crate) fn at_work(&self) -> bool {
        self.mp_state.mp_state == KVM_MP_STATE_RUNNABLE
    }
}

/// Has the TSC run as fast as where the vCPU was saved; KVM refuses if it cannot.
fn set_tsc_khz(vcpu: &VcpuFd, khz: u32) -> Result<(), KvmStateError> {
    let here = vcpu.get_tsc_khz().map_err(failed("KVM_GET_TSC_KHZ"))?;
    if here == khz { Ok(()) } else { vcpu.set_tsc_khz(khz).map_err(failed("KVM_SET_TSC_KHZ")) }
}

/// Keeps a guest with KVM's clock from taking the time that it did not run for a CPU that hangs.
fn tell_that_it_was_stopped(vcpu: &VcpuFd) -> Result<(), KvmStateError> {
    match vcpu.kvmclock_ctrl() {
        // The guest has no such clock.
        Err(error) if error.errno() == libc::EINVAL => Ok(()),
        told => told.map_err(failed("KVM_KVMCLOCK_CTRL")),
    }
}

/// Those that KVM lists, and a few more. Some may belong to a feature that this CPU has not: those cannot be read.
fn read_msrs(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Vec<kvm_msr_entry>, KvmStateError> {
    let list = kvm.get_msr_index_list().map_err(failed("KVM_GET_MSR_INDEX_LIST"))?;
    let indices = list.as_slice().iter().copied().chain(MTRRS.into_iter().flatten());
    let entries: Vec<_> =
        indices.map(|index| kvm_msr_entry { index, ..Default::default() }).collect();
    let mut left = &entries[..];
    let mut msrs = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let asked = left.len().min(MSRS_AT_ONCE);
        let mut batch = batch(&left[..asked])?;
        // Stops at the first that it refuses.
        let read = vcpu.get_msrs(&mut batch).map_err(failed("KVM_GET_MSRS"))?;
        msrs.extend_from_slice(&batch.as_slice()[..read]);
        let refused = usize::from(read < asked);
        left = &left[read + refused..];
    }
    Ok(msrs)
}

fn write_msrs(vcpu: &VcpuFd, msrs: &[kvm_msr_entry]) -> Result<(), KvmStateError> {
    msrs.chunks(MSRS_AT_ONCE).try_for_each(|msrs| {
        let written = vcpu.set_msrs(&batch(msrs)?).map_err(failed("KVM_SET_MSRS"))?;
        match msrs.get(written) {
            Some(refused) => {
                Err(KvmStateError::MsrRefused { index: refused.index, value: refused.data })
            }
            None => Ok(()),
        }
    })
}

fn batch(entries: &[kvm_msr_entry]) -> Result<Msrs, KvmStateError> {
    Msrs::from_entries(entries).map_err(|_| KvmStateError::MsrCount { count: entries.len() })
}
