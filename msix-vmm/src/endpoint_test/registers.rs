//! The registers in BAR 0 that the kernel's `pci_endpoint_test` driver knows, and what its commands ask.

use serde::{Deserialize, Serialize};

/// Bytes of the registers: twelve DWORDs.
pub(super) const SIZE: u64 = 0x30;

/// Offsets.
pub(super) mod offset {
    pub(super) const COMMAND: u64 = 0x04;
    pub(crate) const STATUS: u64 = 0x08;
}

/// Bits of STATUS.
pub(super) mod status {
    pub(crate) const READ_SUCCESS: u32 = 1 << 0;
    pub(crate) const READ_FAIL: u32 = 1 << 1;
    pub(crate) const WRITE_SUCCESS: u32 = 1 << 2;
    pub(crate) const WRITE_FAIL: u32 = 1 << 3;
    pub(crate) const COPY_SUCCESS: u32 = 1 << 4;
    pub(crate) const COPY_FAIL: u32 = 1 << 5;
    pub(crate) const IRQ_RAISED: u32 = 1 << 6;
    pub(crate) const SRC_ADDR_INVALID: u32 = 1 << 7;
    pub(crate) const DST_ADDR_INVALID: u32 = 1 << 8;
}

/// The registers, in the order of their offsets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registers {
    pub(super) magic: u32,
    pub(super) status: u32,
    pub(super) src: u64,
    pub(super) dst: u64,
    pub(super) size: u32,
    pub(super) checksum: u32,
    pub(super) irq_type: u32,
    pub(super) irq_number: u32,
    pub(super) flags: u32,
}

/// What the driver commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Raise(Irq),
    /// The device reads memory, and compares its checksum.
    Read,
    /// The device writes memory, and says its checksum.
    Write,
    /// The device copies memory.
    Copy,
}

/// By which interrupt a driver wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Irq {
    Intx,
    Msix,
    /// MSI, which the device has not, or nothing that exists.
    Other,
}

impl Command {
    /// The lowest bit that is set, as the kernel's own endpoint takes it.
    fn of(value: u32) -> Option<Self> {
        Some(match value.trailing_zeros() {
            0 => Self::Raise(Irq::Intx),
            1 => Self::Raise(Irq::Other),
            2 => Self::Raise(Irq::Msix),
            3 => Self::Read,
            4 => Self::Write,
            5 => Self::Copy,
            _ => return None,
        })
    }
}

/// What a write wants done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Do(Command),
    /// The driver has seen the interrupt.
    Acknowledged,
}

impl Registers {
    /// The interrupt after a transfer.
    pub(super) fn irq(&self) -> Irq {
        match self.irq_type {
            0 => Irq::Intx,
            2 => Irq::Msix,
            _ => Irq::Other,
        }
    }

    /// All of it, as bytes; a command that was done is 0 again.
    pub(super) fn image(&self) -> [u8; SIZE as usize] {
        let Self { magic, status, src, dst, size, checksum, irq_type, irq_number, flags } = *self;
        let (src, dst) = (halves(src), halves(dst));
        let dwords = [
            magic, 0, status, src[0], src[1], dst[0], dst[1], size, checksum, irq_type, irq_number,
            flags,
        ];
        let mut image = [0; SIZE as usize];
        for (to, dword) in image.chunks_exact_mut(4).zip(dwords) {
            to.copy_from_slice(&dword.to_le_bytes());
        }
        image
    }

    /// A write of a whole register; anything else does nothing.
    pub(super) fn write(&mut self, at: u64, data: &[u8]) -> Option<Effect> {
        let value = u32::from_le_bytes(data.try_into().ok()?);
        let register = match at {
            0x00 => &mut self.magic,
            offset::COMMAND => return Command::of(value).map(Effect::Do),
            offset::STATUS => {
                self.status = value;
                return (value & status::IRQ_RAISED == 0).then_some(Effect::Acknowledged);
            }
            0x0c | 0x10 => return set_half(&mut self.src, at == 0x10, value),
            0x14 | 0x18 => return set_half(&mut self.dst, at == 0x18, value),
            0x1c => &mut self.size,
            0x20 => &mut self.checksum,
            0x24 => &mut self.irq_type,
            0x28 => &mut self.irq_number,
            0x2c => &mut self.flags,
            _ => return None,
        };
        *register = value;
        None
    }
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn set_half(address: &mut u64, upper: bool, value: u32) -> Option<Effect> {
    let [low, high] = halves(*address);
    let (low, high) = if upper { (low, value) } else { (value, high) };
    *address = u64::from(high) << 32 | u64::from(low);
    None
}
