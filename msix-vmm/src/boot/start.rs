//! The state in which the first CPU enters the kernel: 64-bit, the first 4 GiB mapped to themselves.
//!
//! The others wait for a start-up IPI, as KVM makes them.

use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::error::{BootError, lacks, refused};
use super::layout::*;
use crate::long_mode::LongMode;

/// Where it finds its tables.
const LONG_MODE: LongMode = LongMode {
    gdt: GDT.0,
    tss: 0,
    pml4: PML4.0,
    pdpt: PDPT.0,
    page_directories: PAGE_DIRECTORIES.0,
};

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
    LONG_MODE.tables().into_iter().try_for_each(|(at, qwords)| {
        let bytes: Vec<u8> = qwords.into_iter().flat_map(u64::to_le_bytes).collect();
        memory.write_slice(&bytes, GuestAddress(at)).map_err(lacks("the first page tables"))
    })
}

/// Puts the first CPU at the kernel's first instruction.
pub(super) fn enter(vcpu: &VcpuFd, entry: u64) -> Result<(), BootError> {
    let mut sregs = vcpu.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
    LONG_MODE.enter(&mut sregs);
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
