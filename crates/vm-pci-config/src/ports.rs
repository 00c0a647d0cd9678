//! Configuration mechanism #1: I/O ports 0xCF8 to 0xCFF (PCI Local Bus 3.0, 3.2.2.3.2).

use crate::function::{ConfigAccess, PciFunction};

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;
/// Enable, bus, device, function and register; the other bits are read-only zero.
const IMPLEMENTED: u32 = 0x80ff_fffc;

/// The address register at 0xCF8 and the data window at 0xCFC, by which a PC reaches configuration space.
///
/// It only decodes: the caller looks the function up and lets its configuration space answer.
///
/// ```
/// use vm_pci_config::{ConfigPorts, Identity, PciConfigSpace, PciFunction};
///
/// let space = PciConfigSpace::new(Identity::new(0x8086, 0x1237))?;
/// let mut ports = ConfigPorts::new();
///
/// // The guest selects register 0 of 00:00.0 and reads the vendor ID.
/// assert_eq!(ports.write(0xcf8, &0x8000_0000_u32.to_le_bytes()), None);
/// let mut data = [0; 2];
/// match ports.read(0xcfc, &mut data) {
///     Some(access) if access.function == PciFunction::new(0, 0, 0)? => {
///         space.read(access.offset, &mut data)
///     }
///     _ => {} // `data` already holds the answer, all ones if nobody is there.
/// }
/// assert_eq!(data, [0x86, 0x80]);
/// # Ok::<(), vm_pci_config::PciConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConfigPorts {
    address: u32,
}

impl ConfigPorts {
    /// The first of the eight ports, to register with an I/O bus.
    pub const FIRST_PORT: u16 = 0xcf8;
    /// The last of the eight ports.
    pub const LAST_PORT: u16 = 0xcff;

    /// The ports after power-on: nothing is selected.
    pub const fn new() -> Self {
        Self { address: 0 }
    }

    /// What the address register holds.
    pub const fn address(&self) -> u32 {
        self.address
    }

    /// Answers a read, or names the configuration space that does.
    ///
    /// `data` is filled in every case. If an access is returned, it holds all ones, which is the answer of a
    /// function that does not exist; a function that does overwrites it.
    pub fn read(&self, port: u16, data: &mut [u8]) -> Option<ConfigAccess> {
        data.fill(0xff);
        if port == CONFIG_ADDRESS && data.len() == 4 {
            data.copy_from_slice(&self.address.to_le_bytes());
        }
        self.decode(port, data.len())
    }

    /// Takes a write, or names the configuration space for which it is.
    ///
    /// Only a DWORD at 0xCF8 changes the address register: a byte at 0xCF9 is a chipset's reset control.
    pub fn write(&mut self, port: u16, data: &[u8]) -> Option<ConfigAccess> {
        if let (CONFIG_ADDRESS, Ok(bytes)) = (port, <[u8; 4]>::try_from(data)) {
            self.address = u32::from_le_bytes(bytes) & IMPLEMENTED;
        }
        self.decode(port, data.len())
    }

    /// The access that `len` bytes at `port` make: none outside of the data window, or while Enable is clear.
    fn decode(&self, port: u16, len: usize) -> Option<ConfigAccess> {
        let lane = port.checked_sub(CONFIG_DATA)?;
        let fits = matches!((lane, len), (0..=3, 1) | (0..=2, 2) | (0, 4));
        if !fits || self.address & ENABLE == 0 {
            return None;
        }
        let [register, devfn, bus, _] = self.address.to_le_bytes();
        Some(ConfigAccess {
            function: PciFunction::from_requester_id(u16::from_be_bytes([bus, devfn])),
            offset: u16::from(register) | lane,
        })
    }
}
