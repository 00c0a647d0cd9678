//! The enumeration of the guest's kernel, in Rust: the same accesses in the same order.

use crate::machine::enumeration::{MAX_CAPABILITIES, RawBar, RawEnumeration, ScanFailure};
use crate::machine::{Access, EnumerateRequest, Width};
use crate::pci::{
    self, ADDRESS_PORT, BAR0, BUS_MASTER, CAPABILITIES, COMMAND, DATA_PORT, MEMORY, MSIX,
};

/// Status, as seen in the Command register's DWORD: there is a capability list.
const HAS_CAPABILITIES: u32 = 1 << 20;

/// Finds the device, places its BARs and finds its MSI-X Capability.
pub(super) fn scan(
    request: &EnumerateRequest,
    access: impl FnMut(Access) -> u32,
) -> Result<RawEnumeration, ScanFailure> {
    let id = u32::from(request.device) << 16 | u32::from(request.vendor);
    let mut config = Config { slot: 0, access };
    while config.read(0) != id {
        config.slot += 1;
        if config.slot == 32 {
            return Err(ScanFailure::NotFound);
        }
    }
    let mut raw = RawEnumeration { slot: config.slot, ..Default::default() };
    config.write_word(COMMAND.into(), 0);
    config.place_bars(request, &mut raw.bars)?;
    let command = config.read_word(COMMAND.into());
    config.access(Access::IoWrite {
        port: DATA_PORT,
        width: Width::Word,
        value: command | u32::from(MEMORY | BUS_MASTER),
    });
    let (offset, header) = config.find_msix()?;
    raw.capability = offset;
    raw.registers = [header, config.read(offset + 4), config.read(offset + 8)];
    Ok(raw)
}

/// The configuration space of one device number, through the two ports.
struct Config<A> {
    slot: u32,
    access: A,
}

impl<A: FnMut(Access) -> u32> Config<A> {
    fn place_bars(
        &mut self,
        request: &EnumerateRequest,
        bars: &mut [RawBar; 6],
    ) -> Result<(), ScanFailure> {
        let mut free = u64::from(request.window.base);
        let mut index = 0;
        while index < bars.len() {
            let register = u32::from(BAR0) + 4 * index as u32;
            let was = self.read(register);
            let stuck = self.size(register);
            bars[index] = RawBar { register: was, size: 0, base: 0 };
            let wide = was & 7 == 4;
            let sticking = match (was & 1, wide) {
                (1, _) => {
                    let size = u64::from((stuck & 0xfffc).wrapping_neg() & 0xffff);
                    if size != 0 {
                        bars[index].size = size;
                        bars[index].base = (was & !3).into();
                    }
                    0
                }
                (_, true) => u64::from(self.size(register + 4)) << 32 | u64::from(stuck & !0xf),
                _ if stuck & !0xf == 0 => 0,
                _ => 0xffff_ffff_0000_0000 | u64::from(stuck & !0xf),
            };
            index += 1;
            if sticking == 0 {
                self.write(register, was);
                continue;
            }
            let size = sticking.wrapping_neg();
            let base = (free + (size - 1)) & sticking;
            let end = base.checked_add(size).ok_or(ScanFailure::WindowFull)?;
            if end > u64::from(request.window.end) {
                return Err(ScanFailure::WindowFull);
            }
            free = end;
            bars[index - 1].size = size;
            bars[index - 1].base = base;
            self.write(register, base as u32);
            if wide {
                self.write(register + 4, 0);
                index += 1;
            }
        }
        Ok(())
    }

    /// Walks the capability list: where the MSI-X Capability is, and its first DWORD.
    fn find_msix(&mut self) -> Result<(u32, u32), ScanFailure> {
        if self.read(COMMAND.into()) & HAS_CAPABILITIES == 0 {
            return Err(ScanFailure::NoMsix);
        }
        let mut next = self.read(CAPABILITIES.into());
        for _ in 0..MAX_CAPABILITIES {
            let offset = next & 0xfc;
            if offset < 0x40 {
                return Err(ScanFailure::NoMsix);
            }
            let header = self.read(offset);
            if header as u8 == MSIX {
                return Ok((offset, header));
            }
            next = header >> 8;
        }
        Err(ScanFailure::Loop)
    }

    /// Writes all-ones and reads what stuck.
    fn size(&mut self, register: u32) -> u32 {
        self.write(register, !0);
        self.read(register)
    }

    fn read(&mut self, register: u32) -> u32 {
        self.select(register);
        self.access(Access::IoRead { port: DATA_PORT, width: Width::Dword })
    }

    fn write(&mut self, register: u32, value: u32) {
        self.select(register);
        self.access(Access::IoWrite { port: DATA_PORT, width: Width::Dword, value });
    }

    fn read_word(&mut self, register: u32) -> u32 {
        self.select(register);
        self.access(Access::IoRead { port: DATA_PORT, width: Width::Word })
    }

    fn write_word(&mut self, register: u32, value: u32) {
        self.select(register);
        self.access(Access::IoWrite { port: DATA_PORT, width: Width::Word, value });
    }

    fn select(&mut self, register: u32) {
        let value = pci::address(self.slot, register);
        self.access(Access::IoWrite { port: ADDRESS_PORT, width: Width::Dword, value });
    }

    fn access(&mut self, access: Access) -> u32 {
        (self.access)(access)
    }
}
