//! The state a CPU starts in: 64-bit, paging on, everything mapped to itself.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, KVM_MP_STATE_RUNNABLE, kvm_mp_state, kvm_regs};
use kvm_ioctls::{Kvm, VcpuFd};

use super::areas::Areas;
use super::guest;
use super::layout::*;
use super::vm::ApicMode;
use crate::long_mode::{CODE, LongMode};
use crate::machine::MachineError;

/// Where it finds its tables.
const LONG_MODE: LongMode =
    LongMode { gdt: GDT, tss: TSS, pml4: PML4, pdpt: PDPT, page_directories: PAGE_DIRECTORIES };

/// Fills the guest's memory: descriptor tables, page tables, kernel.
pub(super) fn load(areas: &Areas, apic_mode: ApicMode) {
    LONG_MODE.tables().into_iter().for_each(|(at, qwords)| write_qwords(areas, at, qwords));
    write_qwords(areas, IDT, (0..=u8::MAX).flat_map(|vector| gate(guest::entry_point(vector))));

    let kernel = guest::image();
    assert!(kernel.len() as u64 <= KERNEL_BYTES, "the kernel has outgrown its place");
    areas.write(KERNEL, kernel);
    areas.store(SHARED + SHARED_X2APIC, u32::from(apic_mode == ApicMode::X2apic));
}

/// An interrupt gate (Intel SDM volume 3, 7.14.1): interrupts stay closed in the handler.
fn gate(entry_point: u64) -> [u64; 2] {
    let low = (entry_point & 0xffff)
        | u64::from(CODE) << 16
        | 0x8e << 40
        | (entry_point >> 16 & 0xffff) << 48;
    [low, entry_point >> 32]
}

fn write_qwords(areas: &Areas, address: u64, qwords: impl IntoIterator<Item = u64>) {
    let bytes: Vec<u8> = qwords.into_iter().flat_map(u64::to_le_bytes).collect();
    areas.write(address, &bytes);
}

/// Puts a new vCPU at the kernel's first instruction.
pub(super) fn prepare(kvm: &Kvm, vcpu: &VcpuFd, cpu: usize) -> Result<(), MachineError> {
    let failed = |call| move |source| MachineError::Kvm { call, source };
    set_cpuid(kvm, vcpu, cpu)?;
    let mut sregs = vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?;
    LONG_MODE.enter(&mut sregs);
    (sregs.idt.base, sregs.idt.limit) = (IDT, 256 * 16 - 1);
    vcpu.set_sregs(&sregs).map_err(failed("KVM_SET_SREGS"))?;

    let regs = kvm_regs {
        rip: KERNEL,
        rsp: cpu_area(cpu) + CPU_AREA_BYTES,
        r14: SHARED,
        r15: cpu_area(cpu),
        rflags: 2,
        ..Default::default()
    };
    vcpu.set_regs(&regs).map_err(failed("KVM_SET_REGS"))?;

    // All but the first wait for a start-up IPI otherwise.
    let runnable = kvm_mp_state { mp_state: KVM_MP_STATE_RUNNABLE };
    vcpu.set_mp_state(runnable).map_err(failed("KVM_SET_MP_STATE"))
}

/// Tells a new vCPU, and so its guest, what CPU it is: all that this host's can be.
pub(super) fn set_cpuid(kvm: &Kvm, vcpu: &VcpuFd, cpu: usize) -> Result<(), MachineError> {
    let failed = |call| move |source| MachineError::Kvm { call, source };
    let mut cpuid = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(failed("KVM_GET_SUPPORTED_CPUID"))?;
    set_apic_id(&mut cpuid, cpu as u32);
    vcpu.set_cpuid2(&cpuid).map_err(failed("KVM_SET_CPUID2"))
}

/// Writes the APIC ID wherever CPUID tells it.
fn set_apic_id(cpuid: &mut CpuId, apic_id: u32) {
    for leaf in cpuid.as_mut_slice() {
        match leaf.function {
            0x1 => leaf.ebx = leaf.ebx & 0x00ff_ffff | apic_id << 24,
            0xb | 0x1f => leaf.edx = apic_id,
            _ => {}
        }
    }
}
