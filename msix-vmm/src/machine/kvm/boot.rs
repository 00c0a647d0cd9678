//! The state a CPU starts in: 64-bit, paging on, everything mapped to itself.

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, KVM_MP_STATE_RUNNABLE, kvm_mp_state, kvm_regs, kvm_segment,
    kvm_sregs,
};
use kvm_ioctls::{Kvm, VcpuFd};

use super::areas::Areas;
use super::guest;
use super::layout::*;
use super::vm::ApicMode;
use crate::machine::MachineError;

/// Selector and descriptor of the code segment: 64-bit, ring 0.
const CODE: (u16, u64) = (0x08, 0x00af_9b00_0000_ffff);
/// Selector and descriptor of the data segments.
const DATA: (u16, u64) = (0x10, 0x00cf_9300_0000_ffff);
/// Selector of the task state segment.
const TASK: u16 = 0x18;
/// The last byte of a task state segment.
const TSS_LIMIT: u32 = 0x67;

/// Page table entry: present, writable.
const TABLE: u64 = 0x3;
/// Page table entry: present, writable, a page of 2 MiB.
const PAGE: u64 = 0x83;

const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_NE: u64 = 1 << 5;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// Fills the guest's memory: descriptor tables, page tables, kernel.
pub(super) fn load(areas: &Areas, apic_mode: ApicMode) {
    let tss_low = u64::from(TSS_LIMIT) | (TSS & 0xff_ffff) << 16 | 0x8b << 40;
    let gdt = [0, CODE.1, DATA.1, tss_low, TSS >> 32];
    write_qwords(areas, GDT, gdt);
    write_qwords(areas, IDT, (0..=u8::MAX).flat_map(|vector| gate(guest::entry_point(vector))));

    write_qwords(areas, PML4, [PDPT | TABLE]);
    write_qwords(areas, PDPT, (0..4).map(|gib| (PAGE_DIRECTORIES + (gib << 12)) | TABLE));
    write_qwords(areas, PAGE_DIRECTORIES, (0..4 * 512).map(|page| page << 21 | PAGE));

    let kernel = guest::image();
    assert!(kernel.len() as u64 <= KERNEL_BYTES, "the kernel has outgrown its place");
    areas.write(KERNEL, kernel);
    areas.store(SHARED + SHARED_X2APIC, u32::from(apic_mode == ApicMode::X2apic));
}

/// An interrupt gate (Intel SDM volume 3, 7.14.1): interrupts stay closed in the handler.
fn gate(entry_point: u64) -> [u64; 2] {
    let low = (entry_point & 0xffff)
        | u64::from(CODE.0) << 16
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
    enter_long_mode(&mut sregs);
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

fn enter_long_mode(sregs: &mut kvm_sregs) {
    let segment = |selector, type_| kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment { db: 1, ..segment(DATA.0, 0x3) };
    sregs.cs = kvm_segment { l: 1, ..segment(CODE.0, 0xb) };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = kvm_segment { base: TSS, limit: TSS_LIMIT, s: 0, g: 0, ..segment(TASK, 0xb) };
    (sregs.gdt.base, sregs.gdt.limit) = (GDT, 5 * 8 - 1);
    (sregs.idt.base, sregs.idt.limit) = (IDT, 256 * 16 - 1);
    sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    sregs.cr3 = PML4;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LME | EFER_LMA;
}
