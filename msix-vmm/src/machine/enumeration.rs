//! What an enumeration is asked for, what it finds, and how its registers read.

use super::MachineError;

/// Which device to look for, and where its BARs may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EnumerateRequest {
    /// The Vendor ID.
    pub(crate) vendor: u16,
    /// The Device ID.
    pub(crate) device: u16,
    /// The addresses for memory BARs.
    pub(crate) window: Window,
}

/// A range of physical addresses below 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// The first address.
    pub(crate) base: u32,
    /// The first address after it.
    pub(crate) end: u32,
}

impl Window {
    /// What a PC leaves to PCI devices: from 3 GiB to the IOAPIC.
    pub(crate) const PC: Self = Self { base: 0xc000_0000, end: 0xfec0_0000 };
}

/// A device as the guest found it and set it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Enumeration {
    /// The device number on bus 0.
    pub(crate) slot: u8,
    /// The BARs; `None` where there is none, and in the upper half of a 64-bit one.
    pub(crate) bars: [Option<Bar>; 6],
    /// The MSI-X Capability.
    pub(crate) msix: MsixCapability,
}

/// One Base Address Register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bar {
    /// What it decodes, and how wide it is.
    pub(crate) kind: BarKind,
    /// Where it is now. I/O BARs are left where they were.
    pub(crate) base: u64,
    /// How many bytes it decodes.
    pub(crate) size: u64,
}

/// What a BAR decodes (PCIe Base 7.5.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BarKind {
    /// Ports.
    Io,
    /// Memory, by one register.
    Memory32,
    /// Memory, by this register and the next.
    Memory64,
}

/// The MSI-X Capability as read after enumeration (PCIe Base 7.7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MsixCapability {
    /// Where it is in configuration space.
    pub(crate) offset: u8,
    /// Message Control.
    pub(crate) message_control: u16,
    /// Where the table is.
    pub(crate) table: TableLocation,
    /// Where the PBA is.
    pub(crate) pba: TableLocation,
}

/// A place inside one of the device's BARs: an offset, and the BIR that names the BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TableLocation {
    /// The BAR's number.
    pub(crate) bir: u8,
    /// The offset into it.
    pub(crate) offset: u32,
}

impl MsixCapability {
    /// The number of vectors: Table Size is encoded N-1.
    pub(crate) fn vectors(&self) -> u16 {
        (self.message_control & 0x7ff) + 1
    }
}

impl TableLocation {
    fn from_register(register: u32) -> Self {
        Self { bir: (register & 7) as u8, offset: register & !7 }
    }
}

impl Enumeration {
    /// The physical address of table entry 0.
    pub(crate) fn table_address(&self) -> u64 {
        self.address(self.msix.table)
    }

    /// The physical address of the first PBA qword.
    pub(crate) fn pba_address(&self) -> u64 {
        self.address(self.msix.pba)
    }

    fn address(&self, location: TableLocation) -> u64 {
        let bar = self.bars[usize::from(location.bir)].expect("checked when it was read");
        bar.base + u64::from(location.offset)
    }
}

/// The registers of an [`Enumeration`], as the scan leaves them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RawEnumeration {
    /// The device number.
    pub(super) slot: u32,
    /// Where the MSI-X Capability is.
    pub(super) capability: u32,
    /// Its three DWORDs.
    pub(super) registers: [u32; 3],
    /// The BARs.
    pub(super) bars: [RawBar; 6],
}

/// One BAR as the scan leaves it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RawBar {
    /// The register before it was sized: its low bits say what it is.
    pub(super) register: u32,
    /// The size; 0 for none.
    pub(super) size: u64,
    /// Where it is now.
    pub(super) base: u64,
}

impl RawBar {
    fn parse(&self) -> Option<Bar> {
        let kind = match self.register {
            io if io & 1 == 1 => BarKind::Io,
            memory if memory & 6 == 4 => BarKind::Memory64,
            _ => BarKind::Memory32,
        };
        (self.size != 0).then_some(Bar { kind, base: self.base, size: self.size })
    }
}

impl RawEnumeration {
    /// Reads the registers' meaning; a BIR without its BAR is an error.
    pub(super) fn parse(&self) -> Result<Enumeration, MachineError> {
        let bars = self.bars.map(|bar| bar.parse());
        let [header, table, pba] = self.registers;
        let locate = |register| {
            let location = TableLocation::from_register(register);
            match bars.get(usize::from(location.bir)) {
                Some(Some(bar)) if bar.kind != BarKind::Io => Ok(location),
                _ => Err(MachineError::BadBir { bir: location.bir }),
            }
        };
        let msix = MsixCapability {
            offset: self.capability as u8,
            message_control: (header >> 16) as u16,
            table: locate(table)?,
            pba: locate(pba)?,
        };
        Ok(Enumeration { slot: self.slot as u8, bars, msix })
    }
}

/// Why a scan came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanFailure {
    /// No such device.
    NotFound,
    /// The BARs do not fit.
    WindowFull,
    /// No MSI-X Capability.
    NoMsix,
    /// The capability list has no end.
    Loop,
}

impl ScanFailure {
    /// The error that tells the caller, with what was asked for.
    pub(super) fn into_error(self, request: &EnumerateRequest) -> MachineError {
        let EnumerateRequest { vendor, device, window } = *request;
        match self {
            Self::NotFound => MachineError::DeviceNotFound { vendor, device },
            Self::WindowFull => MachineError::WindowFull { base: window.base, end: window.end },
            Self::NoMsix => MachineError::NoMsixCapability,
            Self::Loop => MachineError::CapabilityLoop,
        }
    }
}

/// The most steps of a capability walk: 192 bytes after the header, 4 each, is all there can be.
pub(super) const MAX_CAPABILITIES: u32 = 48;
