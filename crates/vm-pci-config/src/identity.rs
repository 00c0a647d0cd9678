//! Who the function is: the read-only fields of the header that a driver matches on.

use crate::PciConfigError;
use crate::registers::{Registers, Rule};
use crate::spec::{
    CACHE_LINE_WRITABLE, COMMAND_WRITABLE, HEADER_MULTI_FUNCTION, INTERRUPT_LINE_WRITABLE,
    REG_CLASS, REG_COMMAND_STATUS, REG_HEADER_TYPE, REG_ID, REG_INTERRUPT, REG_SUBSYSTEM,
    STATUS_ERRORS,
};

/// The Class Code: what the function does, by which a guest picks a generic driver (PCIe Base 7.5.1.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassCode {
    /// The base class, such as 0x01 for mass storage.
    pub class: u8,
    /// The sub-class, such as 0x08 for non-volatile memory.
    pub subclass: u8,
    /// The programming interface, such as 0x02 for NVM Express.
    pub prog_if: u8,
}

/// The Interrupt Pin: which legacy interrupt the function drives (PCIe Base 7.5.1.1.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InterruptPin {
    /// No legacy interrupt: MSI or MSI-X only.
    #[default]
    None,
    /// INTA#, the only one that a device with a single function may use.
    IntA,
    /// INTB#.
    IntB,
    /// INTC#.
    IntC,
    /// INTD#.
    IntD,
}

impl InterruptPin {
    fn value(self) -> u8 {
        match self {
            Self::None => 0,
            Self::IntA => 1,
            Self::IntB => 2,
            Self::IntC => 3,
            Self::IntD => 4,
        }
    }
}

/// The read-only header fields by which a guest recognises the function (PCIe Base 7.5.1.1, 7.5.1.2.3).
///
/// Start from the two mandatory IDs and add what the device has; what is not said reads as zero.
///
/// ```
/// use vm_pci_config::{ClassCode, Identity, InterruptPin, PciConfigSpace};
///
/// let identity = Identity::new(0x1b36, 0x0010)
///     .class(ClassCode { class: 0x01, subclass: 0x08, prog_if: 0x02 })
///     .revision(2)
///     .subsystem(0x1af4, 0x1100)
///     .interrupt_pin(InterruptPin::IntA);
/// let space = PciConfigSpace::new(identity)?;
///
/// let mut id = [0; 4];
/// space.read(0x00, &mut id);
/// assert_eq!(id, [0x36, 0x1b, 0x10, 0x00]);
/// # Ok::<(), vm_pci_config::PciConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    vendor: u16,
    device: u16,
    class: ClassCode,
    revision: u8,
    subsystem_vendor: u16,
    subsystem: u16,
    interrupt_pin: InterruptPin,
    interrupt_line: u8,
    multi_function: bool,
}

impl Identity {
    /// Begins with the IDs by which a guest finds the driver: vendor, then device.
    pub const fn new(vendor: u16, device: u16) -> Self {
        Self {
            vendor,
            device,
            class: ClassCode { class: 0, subclass: 0, prog_if: 0 },
            revision: 0,
            subsystem_vendor: 0,
            subsystem: 0,
            interrupt_pin: InterruptPin::None,
            interrupt_line: 0,
            multi_function: false,
        }
    }

    /// Sets the Class Code, which guests use when no driver knows the IDs.
    pub const fn class(mut self, class: ClassCode) -> Self {
        self.class = class;
        self
    }

    /// Sets the Revision ID, which drivers use to tell generations of a device apart.
    pub const fn revision(mut self, revision: u8) -> Self {
        self.revision = revision;
        self
    }

    /// Sets Subsystem Vendor ID and Subsystem ID: vendor, then device.
    pub const fn subsystem(mut self, vendor: u16, device: u16) -> Self {
        self.subsystem_vendor = vendor;
        self.subsystem = device;
        self
    }

    /// Sets the Interrupt Pin, for a function that can fall back to a legacy interrupt.
    pub const fn interrupt_pin(mut self, pin: InterruptPin) -> Self {
        self.interrupt_pin = pin;
        self
    }

    /// Sets what Interrupt Line holds after power-on, for a VMM that boots a kernel without firmware.
    pub const fn interrupt_line(mut self, line: u8) -> Self {
        self.interrupt_line = line;
        self
    }

    /// Says that the device has further functions, without which a guest looks at function 0 only.
    pub const fn multi_function(mut self) -> Self {
        self.multi_function = true;
        self
    }

    /// The header as registers, BARs and capabilities still empty.
    pub(crate) fn registers(&self) -> Result<Registers, PciConfigError> {
        if self.vendor == 0xffff {
            return Err(PciConfigError::VendorIdReserved);
        }
        let mut regs = Registers::new();
        regs.define(REG_ID, words(self.vendor, self.device));
        regs.define_with(
            REG_COMMAND_STATUS,
            0,
            Rule {
                writable: u32::from(COMMAND_WRITABLE),
                clear_by_one: STATUS_ERRORS,
                ..Rule::default()
            },
        );
        let ClassCode { class, subclass, prog_if } = self.class;
        regs.define(REG_CLASS, u32::from_le_bytes([self.revision, prog_if, subclass, class]));
        regs.define_with(
            REG_HEADER_TYPE,
            if self.multi_function { HEADER_MULTI_FUNCTION } else { 0 },
            Rule { writable: CACHE_LINE_WRITABLE, ..Rule::default() },
        );
        regs.define(REG_SUBSYSTEM, words(self.subsystem_vendor, self.subsystem));
        regs.define_with(
            REG_INTERRUPT,
            u32::from_le_bytes([self.interrupt_line, self.interrupt_pin.value(), 0, 0]),
            Rule { writable: INTERRUPT_LINE_WRITABLE, ..Rule::default() },
        );
        Ok(regs)
    }
}

/// Two 16-bit fields as the register that they share.
fn words(low: u16, high: u16) -> u32 {
    u32::from(low) | (u32::from(high) << 16)
}
