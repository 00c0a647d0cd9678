//! The state in which the first CPU enters the kernel: 64-bit, the first 4 GiB mapped to themselves.
//!
//! The others wait for a start-up IPI, as KVM makes them.

use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::error::{BootError, lacks, refused};
use super::layout::*;

/// Selectors and descriptors as Linux wants them: `__BOOT_CS`, `__BOOT_DS`, and a task state segment.
const CODE: (u16, u64) = (0x10, 0x00af_9b00_0000_ffff);
const DATA: (u16, u64) = (0x18, 0x00cf_9300_0000_ffff);
const TASK: (u16, u64) = (0x20, 0x0080_8b00_0000_0067);

/// Page table entries: present and writable; and also a page of 2 MiB.
const TABLE: u64 = 0x3;
const PAGE: u64 = 0x83;

const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_NE: u64 = 1 << 5;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// `IA32_MTRR_DEF_TYPE`: switched on, memory is write-back unless told otherwise. Firmware does that.
const MTRR_DEF_TYPE: (u32, u64) = (0x2ff, 1 << 11 | 6);

/// All the firmware that there is, in real mode: `mov al, 0xfe; out 0x64, al`, which resets the machine, and `hlt` for ever.
///
/// Linux on a hardware-reduced machine resets by EFI, and where there is none, by a jump to [`RESET_VECTOR`].
const FIRMWARE: [u8; 7] = [0xb0, I8042_RESET, 0xe6, I8042_COMMAND as u8, 0xf4, 0xeb, 0xfd];

/// Writes what is at the reset vector.
pub(super) fn write_firmware(memory: &GuestMemoryMmap) -> Result<(), BootError> {
    memory.write_slice(&FIRMWARE, RESET_VECTOR).map_err(lacks("the reset vector"))
}

/// Writes the descriptor table and the page tables.
pub(super) fn write_tables(memory: &GuestMemoryMmap) -> Result<(), BootError> {
    let write = |at: GuestAddress, qwords: &mut dyn Iterator<Item = u64>| {
        let bytes: Vec<u8> = qwords.flat_map(u64::to_le_bytes).collect();
        memory.write_slice(&bytes, at).map_err(lacks("the first page tables"))
    };
    write(GDT, &mut [0, 0, CODE.1, DATA.1, TASK.1, 0].into_iter())?;
    write(PML4, &mut [PDPT.0 | TABLE].into_iter())?;
    write(PDPT, &mut (0..4).map(|gib| (PAGE_DIRECTORIES.0 + (gib << 12)) | TABLE))?;
    write(PAGE_DIRECTORIES, &mut (0..4 * 512).map(|page| page << 21 | PAGE))
}

/// Puts the first CPU at the kernel's first instruction.
pub(super) fn enter(vcpu: &VcpuFd, entry: u64) -> Result<(), BootError> {
    let mut sregs = vcpu.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
    enter_long_mode(&mut sregs);
    vcpu.set_sregs(&sregs).map_err(refused("KVM_SET_SREGS"))?;
    let (rip, rsi, rsp) = (entry, ZERO_PAGE.0, STACK_END);
    let regs = kvm_regs { rip, rsi, rsp, rflags: 2, ..Default::default() };
    vcpu.set_regs(&regs).map_err(refused("KVM_SET_REGS"))
}

/// What firmware sets on every CPU.
pub(super) fn set_msrs(vcpu: &VcpuFd) -> Result<(), BootError> {
    let (index, data) = MTRR_DEF_TYPE;
    let entry = kvm_msr_entry { index, data, ..Default::default() };
    let msrs = Msrs::from_entries(&[entry]).map_err(lacks("room for MSRs"))?;
    vcpu.set_msrs(&msrs).map(drop).map_err(refused("KVM_SET_MSRS"))
}

fn enter_long_mode(sregs: &mut kvm_sregs) {
    let segment = |selector, type_| kvm_segment {
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
    sregs.tr = kvm_segment { limit: 0x67, s: 0, g: 0, ..segment(TASK.0, 0xb) };
    (sregs.gdt.base, sregs.gdt.limit) = (GDT.0, 6 * 8 - 1);
    (sregs.idt.base, sregs.idt.limit) = (0, 0);
    sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    sregs.cr3 = PML4.0;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LME | EFER_LMA;
}

#[cfg(test)]
mod tests {
    use kvm_ioctls::{Kvm, VcpuExit};

    use super::*;
    use crate::boot::memory;
    use crate::boot::vm::map;

    #[test]
    fn a_jump_to_the_reset_vector_resets() {
        let kvm = match Kvm::new() {
            Ok(kvm) => kvm,
            Err(error) => {
                let required = std::env::var_os("REQUIRE_KVM").is_some();
                assert!(!required, "REQUIRE_KVM is set, and /dev/kvm: {error}");
                eprintln!("skipped: /dev/kvm: {error}");
                return;
            }
        };
        let vm = kvm.create_vm().unwrap();
        vm.set_tss_address(KVM_TSS).unwrap();
        let memory = memory::allocate(16 << 20, memory::Sharing::Private).unwrap();
        map(&vm, &memory).unwrap();
        write_firmware(&memory).unwrap();
        // Where a far jump to ffff:0000 leads.
        let mut cpu = vm.create_vcpu(0).unwrap();
        let mut sregs = cpu.get_sregs().unwrap();
        (sregs.cs.base, sregs.cs.selector) = (0xf_fff0, 0xffff);
        cpu.set_sregs(&sregs).unwrap();
        cpu.set_regs(&kvm_regs { rip: 0, rflags: 2, ..Default::default() }).unwrap();
        let exit = cpu.run().unwrap();
        assert!(matches!(exit, VcpuExit::IoOut(0x64, [0xfe])), "{exit:?}");
    }
}
