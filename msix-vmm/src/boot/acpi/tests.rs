//! Reads the tables as a kernel does, by the numbers of the specification.

use std::fs;
use std::process::Command;

use super::tables;

/// Where a kernel finds the first byte of the image.
const BASE: u64 = 0xe_0000;

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The table at an address, as long as it says it is; its checksum is good.
fn table(image: &[u8], address: u64) -> &[u8] {
    let bytes = &image[(address - BASE) as usize..];
    let table = &bytes[..u32_at(bytes, 4) as usize];
    assert_eq!(sum(table), 0, "{:?}", String::from_utf8_lossy(&table[..4]));
    table
}

/// The table with a signature, of those in the XSDT.
fn find<'a>(image: &'a [u8], signature: &[u8; 4]) -> &'a [u8] {
    let xsdt = table(image, u64_at(image, 24));
    assert_eq!(&xsdt[..4], b"XSDT");
    let mut tables = xsdt[36..].chunks_exact(8).map(|entry| table(image, u64_at(entry, 0)));
    tables.find(|table| table.starts_with(signature)).expect("it is in the XSDT")
}

/// The DSDT, as the FADT leads to it.
fn dsdt(image: &[u8]) -> &[u8] {
    table(image, u64_at(find(image, b"FACP"), 140))
}

#[test]
fn the_root_pointer_is_whole() {
    let image = tables(1);
    assert_eq!(&image[..8], b"RSD PTR ");
    assert_eq!((image[15], u32_at(&image, 20)), (2, 36), "revision and length");
    assert_eq!((sum(&image[..20]), sum(&image[..36])), (0, 0), "both checksums");
}

#[test]
fn the_machine_is_hardware_reduced_and_can_sleep_and_reset() {
    let image = tables(1);
    let fadt = find(&image, b"FACP");
    let flags = u32_at(fadt, 112);
    assert_eq!((flags >> 20 & 1, flags >> 10 & 1), (1, 1));
    // A port, 8 bits wide, accessed by bytes.
    let register = |offset: usize| {
        assert_eq!(fadt[offset..offset + 4], [1, 8, 0, 1]);
        u64_at(fadt, offset + 4)
    };
    assert_eq!((register(116), fadt[128]), (0x64, 0xfe), "reset");
    assert_eq!((register(244), register(256)), (0x600, 0x601), "sleep control and status");
}

#[test]
fn every_cpu_is_there_and_enabled_and_so_is_the_ioapic() {
    let image = tables(3);
    let madt = find(&image, b"APIC");
    assert_eq!(u32_at(madt, 36), 0xfee0_0000);
    let cpu = |id| [0, 8, id, id, 1, 0, 0, 0];
    assert_eq!(madt[44..68], [cpu(0), cpu(1), cpu(2)].concat());
    assert_eq!(madt[68..], [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
}

#[test]
fn ecam_is_where_the_mcfg_says() {
    let image = tables(1);
    let mcfg = find(&image, b"MCFG");
    assert_eq!(mcfg.len(), 60, "one window");
    assert_eq!((u64_at(mcfg, 44), mcfg[54], mcfg[55]), (0xe000_0000, 0, 0));
}

#[test]
fn the_most_cpus_fit_below_the_reset_vector() {
    assert!(BASE + tables(254).len() as u64 <= 0xf_fff0);
}

/// The DSDT, as ACPI's own compiler reads it.
fn disassembled() -> Option<String> {
    let directory = std::env::temp_dir().join(format!("msix-vmm-dsdt-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("dsdt.dat"), dsdt(&tables(2))).unwrap();
    let run = Command::new("iasl").args(["-d", "dsdt.dat"]).current_dir(&directory).output();
    let text = run.is_ok().then(|| fs::read_to_string(directory.join("dsdt.dsl")).unwrap());
    fs::remove_dir_all(&directory).unwrap();
    text
}

#[test]
fn iasl_reads_the_dsdt_as_it_was_meant() {
    let Some(text) = disassembled() else {
        eprintln!("skipped: there is no iasl");
        return;
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for piece in [
        "Name (_HID, EisaId (\"PNP0A08\")",
        "Name (_CID, EisaId (\"PNP0A03\")",
        "WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,",
        "0xC0000000, // Range Minimum 0xDFFFFFFF, // Range Maximum",
        "Package (0x04) { 0xFFFF, Zero, Zero, 0x10 }",
        "Package (0x04) { 0x0009FFFF, Zero, Zero, 0x11 }",
        "Memory32Fixed (ReadWrite, 0xE0000000, // Address Base 0x00100000, // Address Length",
        "Name (_HID, EisaId (\"PNP0501\")",
        "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) { 0x00000004, }",
        "Name (\\_S5, Package (0x04) // _S5_: S5 System State { 0x05, Zero, Zero, Zero })",
    ] {
        assert!(text.contains(piece), "no {piece} in {text}");
    }
}
