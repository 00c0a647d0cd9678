//! Where everything is in the guest's address spaces, memory and ports.

use vm_memory::GuestAddress;
use vm_pci_config::ConfigPorts;

/// The descriptor table that the kernel starts with.
pub(super) const GDT: GuestAddress = GuestAddress(0x500);
/// What the kernel is told about the machine: `boot_params`.
pub(super) const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);
/// Where the kernel's first stack ends.
pub(super) const STACK_END: u64 = 0x8ff0;
/// Page tables that map the first 4 GiB to themselves: level 4, level 3, and four of level 2.
pub(super) const PML4: GuestAddress = GuestAddress(0x9000);
pub(super) const PDPT: GuestAddress = GuestAddress(0xa000);
pub(super) const PAGE_DIRECTORIES: GuestAddress = GuestAddress(0xb000);
/// The command line, and how long it may be with its final zero byte: what Linux on x86 has room for.
pub(super) const COMMAND_LINE: GuestAddress = GuestAddress(0x2_0000);
pub(super) const COMMAND_LINE_BYTES: usize = 2048;
/// Here begins what a PC has between its conventional memory and the first MiB, which is no RAM to a kernel.
pub(super) const LOW_RESERVED: u64 = 0x9_fc00;
/// ACPI tables, where kernels look for a PC's.
pub(super) const ACPI: GuestAddress = GuestAddress(0xe_0000);
/// Where a PC's firmware begins after a reset. A kernel jumps there to have one.
pub(super) const RESET_VECTOR: GuestAddress = GuestAddress(0xf_fff0);
/// Where RAM goes on, and kernels begin.
pub(super) const HIGH_MEMORY: GuestAddress = GuestAddress(0x10_0000);

/// Below 4 GiB RAM ends here at the latest, and the BARs of devices begin.
pub(super) const DEVICE_MEMORY: u64 = 0xc000_0000;
/// The last address for BARs.
pub(super) const DEVICE_MEMORY_LAST: u64 = ECAM - 1;
/// Configuration space as memory, of [`BUSES`] buses.
pub(super) const ECAM: u64 = 0xe000_0000;
/// How many PCI buses there are.
pub(super) const BUSES: u16 = 1;
/// The IOAPIC and the local APICs, where KVM has them.
pub(super) const IOAPIC: u32 = 0xfec0_0000;
pub(super) const LOCAL_APIC: u32 = 0xfee0_0000;
/// Three pages that Intel's KVM needs for real mode.
pub(super) const KVM_TSS: usize = 0xfffb_d000;
/// RAM that has no room below device memory.
pub(super) const RAM_ABOVE_4_GIB: u64 = 1 << 32;

/// The serial line, its eight ports and its interrupt.
pub(super) const COM1: u16 = 0x3f8;
pub(super) const COM1_LAST: u16 = COM1 + 7;
pub(super) const COM1_GSI: u32 = 4;
/// Configuration space by ports.
pub(super) const PCI_PORTS: u16 = ConfigPorts::FIRST_PORT;
pub(super) const PCI_PORTS_LAST: u16 = ConfigPorts::LAST_PORT;
/// The command port of a PC's keyboard controller, and the command that resets the machine.
pub(super) const I8042_COMMAND: u16 = 0x64;
pub(super) const I8042_RESET: u8 = 0xfe;
/// ACPI's sleep control and sleep status registers (ACPI 6.5, 4.8.3.7).
pub(super) const SLEEP_CONTROL: u16 = 0x600;
pub(super) const SLEEP_STATUS: u16 = 0x601;
/// The sleep type of S5, soft off, as the DSDT tells it.
pub(super) const SLEEP_TYPE_S5: u8 = 5;

/// The IOAPIC's pins for INTx: those that no ISA interrupt has.
pub(super) const INTX_FIRST_GSI: u32 = 16;
pub(super) const INTX_GSIS: u32 = 8;

/// The IOAPIC pin to which INTA# of a device leads, in `_PRT` and on the board.
pub(super) const fn intx_gsi(device: u8) -> u32 {
    INTX_FIRST_GSI + device as u32 % INTX_GSIS
}
