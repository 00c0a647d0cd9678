//! The address of a function: bus, device and function number.

use core::fmt;

use crate::PciConfigError;

/// A function's bus, device and function number, which together are its Requester ID (PCIe Base 2.2.6.2).
///
/// ```
/// use vm_pci_config::PciFunction;
///
/// let function = PciFunction::new(0, 3, 0)?;
/// assert_eq!(function.to_string(), "00:03.0");
/// assert_eq!(function.requester_id(), 0x0018);
/// assert!(PciFunction::new(0, 32, 0).is_err());
/// # Ok::<(), vm_pci_config::PciConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciFunction(u16);

impl PciFunction {
    /// Puts the three numbers together; a device above 31 or a function above 7 does not exist.
    pub fn new(bus: u8, device: u8, function: u8) -> Result<Self, PciConfigError> {
        if device > 31 {
            return Err(PciConfigError::DeviceOutOfRange { device });
        }
        if function > 7 {
            return Err(PciConfigError::FunctionOutOfRange { function });
        }
        Ok(Self(u16::from_be_bytes([bus, (device << 3) | function])))
    }

    /// The function that a Requester ID names; every value names one.
    pub const fn from_requester_id(id: u16) -> Self {
        Self(id)
    }

    /// The Requester ID: bus in bits 15 to 8, device in 7 to 3, function in 2 to 0.
    pub const fn requester_id(self) -> u16 {
        self.0
    }

    /// The bus number.
    pub const fn bus(self) -> u8 {
        let [bus, _] = self.0.to_be_bytes();
        bus
    }

    /// The device number, 0 to 31.
    pub const fn device(self) -> u8 {
        let [_, devfn] = self.0.to_be_bytes();
        devfn >> 3
    }

    /// The function number, 0 to 7.
    pub const fn function(self) -> u8 {
        let [_, devfn] = self.0.to_be_bytes();
        devfn & 7
    }
}

impl fmt::Display for PciFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus(), self.device(), self.function())
    }
}

impl fmt::Debug for PciFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PciFunction({self})")
    }
}

/// A configuration access that a [`ConfigPorts`](crate::ConfigPorts) or an [`EcamWindow`](crate::EcamWindow) has decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConfigAccess {
    /// Whose configuration space is meant. It may not exist; reads of it are then all ones.
    pub function: PciFunction,
    /// The offset in it, as [`PciConfigSpace::read`](crate::PciConfigSpace::read) takes it.
    pub offset: u16,
}
