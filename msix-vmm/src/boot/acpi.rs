//! The ACPI tables: how the kernel learns of CPUs, interrupt controllers, ECAM and power-off (ACPI 6.5, chapter 5).
//!
//! The machine is *hardware-reduced*: it has none of the fixed registers of a PC, no SCI, no PM timer. Sleeping and resetting are one
//! register each. What is no table but a program, the DSDT, is in [`dsdt`].

use acpi_tables::Aml;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;
use vm_memory::{Bytes, GuestMemoryMmap};

use super::dsdt;
use super::error::{BootError, lacks};
use super::layout::*;

pub(super) const OEM: [u8; 6] = *b"VMMSIX";
pub(super) const OEM_TABLE: [u8; 8] = *b"MSIX-VMM";
pub(super) const OEM_REVISION: u32 = 1;

/// What the machine has of a PC (ACPI 6.5, 5.2.9.3): no VGA, no ASPM, no clock in CMOS; nor a keyboard controller, whose bit is 0.
const IAPC_BOOT_ARCH: u16 = 1 << 2 | 1 << 4 | 1 << 5;

/// Tables for a machine of `cpus` CPUs, into memory.
pub(super) fn write(memory: &GuestMemoryMmap, cpus: u8) -> Result<(), BootError> {
    memory.write_slice(&tables(cpus), ACPI).map_err(lacks("the ACPI tables"))
}

/// All tables as they lie in memory from [`ACPI`] on, the RSDP first.
fn tables(cpus: u8) -> Vec<u8> {
    let mut image = Image(vec![0; Rsdp::len()]);
    let dsdt = image.push(&dsdt::table());
    let pointed_to = [image.push(&fadt(dsdt)), image.push(&madt(cpus)), image.push(&mcfg())];
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    pointed_to.into_iter().for_each(|table| xsdt.add_entry(table));
    let rsdp = Rsdp::new(OEM, image.push(&xsdt));
    image.0.splice(..Rsdp::len(), bytes(&rsdp));
    image.0
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// Memory from [`ACPI`] on.
struct Image(Vec<u8>);

impl Image {
    /// Appends a table, and tells its address.
    fn push(&mut self, table: &dyn Aml) -> u64 {
        let offset = self.0.len().next_multiple_of(16);
        self.0.resize(offset, 0);
        table.to_aml_bytes(&mut self.0);
        ACPI.0 + offset as u64
    }
}

/// The Fixed ACPI Description Table: how to sleep, and how to reset.
fn fadt(dsdt: u64) -> impl Aml {
    let port =
        |port: u16| GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, u64::from(port));
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        // Neither a power nor a sleep button in fixed registers.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton);
    fadt.iapc_boot_arch = IAPC_BOOT_ARCH.into();
    (fadt.reset_reg, fadt.reset_value) = (port(I8042_COMMAND), I8042_RESET);
    (fadt.sleep_control_reg, fadt.sleep_status_reg) = (port(SLEEP_CONTROL), port(SLEEP_STATUS));
    fadt.finalize()
}

/// The Multiple APIC Description Table: CPUs, whose APIC ID is their number, and the IOAPIC.
fn madt(cpus: u8) -> impl Aml {
    let address = LocalInterruptController::Address(LOCAL_APIC);
    let mut madt = MADT::new(OEM, OEM_TABLE, OEM_REVISION, address);
    for cpu in 0..cpus {
        madt.add_structure(ProcessorLocalApic::new(cpu, cpu, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, IOAPIC, 0));
    madt
}

/// Where ECAM is.
fn mcfg() -> impl Aml {
    let mut mcfg = MCFG::new(OEM, OEM_TABLE, OEM_REVISION);
    mcfg.add_ecam(ECAM, 0, 0, (BUSES - 1) as u8);
    mcfg
}

#[cfg(test)]
mod tests;
