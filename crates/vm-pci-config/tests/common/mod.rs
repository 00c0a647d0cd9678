//! Little-endian reads and writes, as a guest makes them.
#![allow(dead_code, reason = "every test file uses some of them")]

pub(crate) mod device;

use vm_pci_config::{PciConfigSpace, WriteOutcome};

pub(crate) fn read8(space: &PciConfigSpace, offset: u16) -> u8 {
    let mut data = [0xaa; 1];
    space.read(offset, &mut data);
    data[0]
}

pub(crate) fn read16(space: &PciConfigSpace, offset: u16) -> u16 {
    let mut data = [0xaa; 2];
    space.read(offset, &mut data);
    u16::from_le_bytes(data)
}

pub(crate) fn read32(space: &PciConfigSpace, offset: u16) -> u32 {
    let mut data = [0xaa; 4];
    space.read(offset, &mut data);
    u32::from_le_bytes(data)
}

pub(crate) fn write16(space: &mut PciConfigSpace, offset: u16, value: u16) -> WriteOutcome {
    space.write(offset, &value.to_le_bytes())
}

pub(crate) fn write32(space: &mut PciConfigSpace, offset: u16, value: u32) -> WriteOutcome {
    space.write(offset, &value.to_le_bytes())
}

pub(crate) fn image(space: &PciConfigSpace) -> Vec<u8> {
    (0..0x100).map(|offset| read8(space, offset)).collect()
}
