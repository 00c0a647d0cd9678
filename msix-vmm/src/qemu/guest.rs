//! What a guest's firmware does: it finds the device, gives it addresses and lets it answer.

use vm_msix::MsixLayout;

use super::devices::{BRIDGE_SLOT, DEVICE_SLOT, DOORBELL_SLOT};
use super::error::QemuError;
use super::op::Width;
use super::qtest::Qtest;
use crate::pci::{
    self, ADDRESS_PORT, BAR0, BUS_MASTER, CAPABILITIES, COMMAND, DATA_PORT, MEMORY, MSIX,
};

/// The memory in which configuration space is reached, by bus, slot and offset (PCIe Base 7.2.2).
const ECAM: u64 = 0xb000_0000;
/// PCIEXBAR of q35's host bridge, whose bit 0 enables that memory.
const ECAM_REGISTER: u32 = 0x60;
/// The memory behind the bridge, 16 MiB, from which BARs are placed.
const BEHIND: u64 = 0xc000_0000;
/// The last megabyte of it.
const BEHIND_LAST: u64 = 0xc0f0_0000;
/// The doorbell's BAR.
const DOORBELL: u32 = 0xc100_0000;
/// The doorbell register in it.
const DOORBELL_REGISTER: u32 = 12;

// What a bridge has in configuration space.
const BUS_NUMBERS: u16 = 0x18;
const MEMORY_WINDOW: u16 = 0x20;
const BRIDGE_CONTROL: u16 = 0x3e;
/// Secondary Bus Reset (7.5.1.3.13).
const BUS_RESET: u64 = 1 << 6;
const BARS: u8 = 6;

/// The device as the guest has found it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Offset of the MSI-X Capability.
    capability: u16,
    pub(super) layout: MsixLayout,
    pub(super) table: u64,
    pub(super) pba: u64,
    /// The BAR registers, and what was written there.
    bars: Vec<(u16, u32)>,
}

/// Switches on the memory in which configuration space is, and opens the bridge.
pub(super) fn open_bus(qtest: &mut Qtest) -> Result<(), QemuError> {
    for (register, value) in [(ECAM_REGISTER + 4, 0), (ECAM_REGISTER, ECAM as u32 | 1)] {
        qtest.out(ADDRESS_PORT, pci::address(0_u8, register));
        qtest.out(DATA_PORT, value);
    }
    let bridge = |offset| config(0, BRIDGE_SLOT, offset);
    let window = BEHIND >> 16 | BEHIND_LAST & 0xfff0_0000;
    qtest.write(bridge(BUS_NUMBERS), Width::Dword, 0x01_01_00);
    qtest.write(bridge(MEMORY_WINDOW), Width::Dword, window);
    qtest.write(bridge(COMMAND), Width::Word, (MEMORY | BUS_MASTER).into());
    qtest.answers().map(drop)
}

/// Places the doorbell, and returns the address of its register.
pub(super) fn place_doorbell(qtest: &mut Qtest) -> Result<u32, QemuError> {
    qtest.write(config(0, DOORBELL_SLOT, BAR0), Width::Dword, DOORBELL.into());
    qtest.write(config(0, DOORBELL_SLOT, COMMAND), Width::Word, MEMORY.into());
    qtest.answers()?;
    Ok(DOORBELL + DOORBELL_REGISTER)
}

/// Finds the device, and decides where its BARs lie.
pub(super) fn find(qtest: &mut Qtest, vectors: u16) -> Result<Found, QemuError> {
    let capability = find_capability(qtest)?;
    let mut dword = |offset| {
        qtest.ask(Found::config(capability + offset), Width::Dword).map(|dword| dword as u32)
    };
    let (head, table, pba) = (dword(0)?, dword(4)?, dword(8)?);
    let shown = (head >> 16 & 0x7ff) as u16 + 1;
    if shown != vectors {
        return Err(QemuError::Capability(format!("{shown} vectors instead of {vectors}")));
    }
    let bir = |register: u32| (register & 7) as u8;
    let layout = MsixLayout::new(vectors, bir(table), table & !7, bir(pba), pba & !7)?;
    let bars = size_bars(qtest)?;
    let address = |register: u32| {
        let at = BAR0 + 4 * u16::from(bir(register));
        let bar = bars.iter().find(|(offset, _)| *offset == at).map(|(_, bar)| u64::from(*bar));
        let none = || QemuError::Capability(format!("nothing in BAR {}", bir(register)));
        Ok::<_, QemuError>(bar.ok_or_else(none)? + u64::from(register & !7))
    };
    Ok(Found { capability, layout, table: address(table)?, pba: address(pba)?, bars })
}

impl Found {
    /// The address of a register of the device's configuration space.
    fn config(offset: u16) -> u64 {
        config(1, DEVICE_SLOT, offset)
    }

    /// The address of a byte of its capability.
    pub(super) fn capability(&self, offset: u16) -> u64 {
        Self::config(self.capability + offset)
    }

    /// Queues setting or clearing Bus Master Enable.
    pub(super) fn set_bus_master(&self, qtest: &mut Qtest, allowed: bool) -> usize {
        let command = if allowed { MEMORY | BUS_MASTER } else { MEMORY };
        qtest.write(Self::config(COMMAND), Width::Word, command.into());
        1
    }

    /// Queues a reset of its bus and everything that makes it answer again; returns how many commands that are.
    pub(super) fn reset(&self, qtest: &mut Qtest) -> usize {
        for control in [BUS_RESET, 0] {
            qtest.write(config(0, BRIDGE_SLOT, BRIDGE_CONTROL), Width::Word, control);
        }
        for (offset, bar) in &self.bars {
            qtest.write(Self::config(*offset), Width::Dword, (*bar).into());
        }
        2 + self.bars.len() + self.set_bus_master(qtest, true)
    }
}

/// Follows the capability list (PCI Local Bus 3.0, 6.7).
fn find_capability(qtest: &mut Qtest) -> Result<u16, QemuError> {
    let mut at = qtest.ask(Found::config(CAPABILITIES), Width::Byte)? as u16;
    // A list has at most as many members as there are DWORDs behind the header.
    for _ in 0..48 {
        let header = qtest.ask(Found::config(at & !3), Width::Word)?;
        match at {
            0 => break,
            _ if header as u8 == MSIX => return Ok(at & !3),
            _ => at = (header >> 8) as u16,
        }
    }
    Err(QemuError::Capability("it has none".into()))
}

/// Asks each memory BAR for its size, and gives it a place; the upper half of a 64-bit one is zero.
fn size_bars(qtest: &mut Qtest) -> Result<Vec<(u16, u32)>, QemuError> {
    let mut bars = Vec::new();
    let mut next = BEHIND;
    let mut bar = 0;
    while bar < BARS {
        let offset = BAR0 + 4 * u16::from(bar);
        qtest.write(Found::config(offset), Width::Dword, u32::MAX.into());
        let sized = qtest.ask(Found::config(offset), Width::Dword)? as u32;
        let (is_io, is_64_bit) = (sized & 1 != 0, sized & 0b110 == 0b100);
        bar += if is_64_bit && !is_io { 2 } else { 1 };
        if is_io || sized == 0 {
            continue;
        }
        let size = u64::from(!(sized & !0xf)) + 1;
        next = next.next_multiple_of(size);
        bars.push((offset, next as u32));
        if is_64_bit {
            bars.push((offset + 4, 0));
        }
        next += size;
    }
    if next > BEHIND_LAST + 0x10_0000 {
        return Err(QemuError::Capability("its BARs need more than 16 MiB".into()));
    }
    Ok(bars)
}

fn config(bus: u8, slot: u8, offset: u16) -> u64 {
    ECAM | u64::from(bus) << 20 | u64::from(slot) << 15 | u64::from(offset)
}
