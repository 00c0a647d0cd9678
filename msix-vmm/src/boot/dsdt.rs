//! The DSDT: the machine's devices that cannot be found by looking, as a program in ACPI's machine language.
//!
//! - the PCI host bridge, with what it hands on to its bus, and where the INTx pins of the devices lead (`_PRT`)
//! - the memory of ECAM, which Linux uses only if it is some device's
//! - the serial line
//! - `_S5`, what to write to the sleep control register to power off

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Memory32Fixed, Name,
    Package, PackageBuilder, ResourceTemplate, Scope, ZERO,
};
use acpi_tables::sdt::Sdt;

use super::acpi::{OEM, OEM_REVISION, OEM_TABLE};
use super::layout::*;

/// A table's header.
const HEADER_BYTES: u32 = 36;
/// From this revision on, integers have 64 bits.
const REVISION: u8 = 2;
/// A PCI bus has so many device numbers.
const DEVICE_NUMBERS: u8 = 32;

/// The table.
pub(super) fn table() -> impl Aml {
    let mut program = Vec::new();
    Scope::new("\\_SB_".into(), vec![&HostBridge, &EcamMemory, &SerialLine])
        .to_aml_bytes(&mut program);
    Name::new("\\_S5_".into(), &Package::new(vec![&SLEEP_TYPE_S5, &ZERO, &ZERO, &ZERO]))
        .to_aml_bytes(&mut program);
    let mut table = Sdt::new(*b"DSDT", HEADER_BYTES, REVISION, OEM, OEM_TABLE, OEM_REVISION);
    table.append_slice(&program);
    table
}

struct HostBridge;

impl Aml for HostBridge {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let buses = AddressSpace::new_bus_number(0, BUSES - 1);
        let config_ports = IO::new(0xcf8, 0xcf8, 1, 8);
        let (first, last) = (DEVICE_MEMORY as u32, DEVICE_MEMORY_LAST as u32);
        let memory =
            AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, first, last, None);
        let resources = ResourceTemplate::new(vec![&buses, &config_ports, &memory]);
        Device::new(
            "PCI0".into(),
            vec![
                &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
                &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
                &Name::new("_UID".into(), &ZERO),
                &Name::new("_SEG".into(), &ZERO),
                &Name::new("_BBN".into(), &ZERO),
                &Name::new("_CRS".into(), &resources),
                &Name::new("_PRT".into(), &interrupt_routing()),
            ],
        )
        .to_aml_bytes(sink);
    }
}

/// `_PRT`: for INTA# of each device number, the IOAPIC's pin (ACPI 6.5, 6.2.13). No device here has another.
fn interrupt_routing() -> PackageBuilder {
    let mut routing = PackageBuilder::new();
    for device in 0..DEVICE_NUMBERS {
        let any_function = u32::from(device) << 16 | 0xffff;
        let (no_source, gsi) = (ZERO, intx_gsi(device));
        routing.add_element(&Package::new(vec![&any_function, &ZERO, &no_source, &gsi]));
    }
    routing
}

struct EcamMemory;

impl Aml for EcamMemory {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let window = Memory32Fixed::new(true, ECAM as u32, u32::from(BUSES) << 20);
        Device::new(
            "ECAM".into(),
            vec![
                &Name::new("_HID".into(), &EISAName::new("PNP0C02")),
                &Name::new("_UID".into(), &ZERO),
                &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&window])),
            ],
        )
        .to_aml_bytes(sink);
    }
}

struct SerialLine;

impl Aml for SerialLine {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let ports = IO::new(COM1, COM1, 1, 8);
        // Of this device, on an edge, high, its own.
        let interrupt = Interrupt::new(true, true, false, false, COM1_GSI);
        Device::new(
            "COM1".into(),
            vec![
                &Name::new("_HID".into(), &EISAName::new("PNP0501")),
                &Name::new("_UID".into(), &ZERO),
                &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports, &interrupt])),
            ],
        )
        .to_aml_bytes(sink);
    }
}
