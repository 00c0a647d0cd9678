//! What a capability is before it has a place: an ID, its bytes and which bits a guest may write.

use alloc::vec::Vec;
use core::fmt;

use crate::PciConfigError;
use crate::spec::CAPABILITY_HEADER;

/// The Capability ID, by which a guest finds a capability in the list (PCI Local Bus 3.0, 6.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CapabilityId(pub u8);

impl CapabilityId {
    /// A capability without meaning, which only takes its place in the list.
    pub const NULL: Self = Self(0x00);
    /// Power Management (PCIe Base 7.5.2).
    pub const POWER_MANAGEMENT: Self = Self(0x01);
    /// Vital Product Data.
    pub const VITAL_PRODUCT_DATA: Self = Self(0x03);
    /// Message Signaled Interrupts (7.7.1).
    pub const MSI: Self = Self(0x05);
    /// Vendor-Specific (7.9.4), as virtio uses it.
    pub const VENDOR_SPECIFIC: Self = Self(0x09);
    /// PCI Express (7.5.3).
    pub const PCI_EXPRESS: Self = Self(0x10);
    /// MSI-X (7.7.2).
    pub const MSIX: Self = Self(0x11);
    /// Conventional PCI Advanced Features.
    pub const ADVANCED_FEATURES: Self = Self(0x13);
    /// Enhanced Allocation (7.8.5).
    pub const ENHANCED_ALLOCATION: Self = Self(0x14);
}

impl fmt::Debug for CapabilityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CapabilityId({:#04x})", self.0)
    }
}

impl From<u8> for CapabilityId {
    fn from(id: u8) -> Self {
        Self(id)
    }
}

impl From<CapabilityId> for u8 {
    fn from(id: CapabilityId) -> u8 {
        id.0
    }
}

/// A capability as its author describes it, for [`PciConfigSpace::add_capability`](crate::PciConfigSpace::add_capability).
///
/// It knows neither its place nor its neighbours, so one type serves every function.
pub trait PciCapability {
    /// The Capability ID; the space writes it into byte 0.
    fn id(&self) -> CapabilityId;

    /// The whole capability as it is after power-on, its two header bytes included (their content is not looked at).
    fn bytes(&self) -> &[u8];

    /// The bits that take what a guest writes, one mask per DWORD; DWORDs behind the last mask are read-only.
    fn writable_bits(&self) -> &[u32];
}

/// A capability that is only bytes, such as Power Management or virtio's pointers into a BAR.
///
/// ```
/// use vm_pci_config::{CapabilityId, Identity, PciConfigSpace, PlainCapability};
///
/// // Power Management: version 3, and PowerState of PMCSR for the guest to write.
/// let power = PlainCapability::new(CapabilityId::POWER_MANAGEMENT, &[0x03, 0, 0, 0, 0, 0])
///     .writable(&[0, 0x0000_0003]);
///
/// let mut space = PciConfigSpace::new(Identity::new(0x1af4, 0x1041))?;
/// assert_eq!(space.add_capability(&power)?, 0x40);
/// # Ok::<(), vm_pci_config::PciConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainCapability {
    id: CapabilityId,
    bytes: Vec<u8>,
    writable: Vec<u32>,
}

impl PlainCapability {
    /// A capability whose bytes behind the two of the header are `body`, all of them read-only.
    pub fn new(id: CapabilityId, body: &[u8]) -> Self {
        let mut bytes = Vec::from([id.0, 0]);
        bytes.extend_from_slice(body);
        Self { id, bytes, writable: Vec::new() }
    }

    /// Sets the bits that a guest may write, one mask per DWORD, the header's DWORD first.
    pub fn writable(mut self, masks: &[u32]) -> Self {
        self.writable = Vec::from(masks);
        self
    }
}

impl PciCapability for PlainCapability {
    fn id(&self) -> CapabilityId {
        self.id
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn writable_bits(&self) -> &[u32] {
        &self.writable
    }
}

/// Refuses a description that has no header, or hands it to the guest; returns its length in DWORDs.
pub(crate) fn check(capability: &dyn PciCapability) -> Result<usize, PciConfigError> {
    let length = capability.bytes().len();
    if length < 2 {
        return Err(PciConfigError::CapabilityTooShort { length });
    }
    let registers = length.div_ceil(4);
    let writable = capability.writable_bits();
    if writable.len() > registers {
        return Err(PciConfigError::TooManyWritableMasks { given: writable.len(), registers });
    }
    match writable.first() {
        Some(&mask) if mask & CAPABILITY_HEADER != 0 => {
            Err(PciConfigError::HeaderWritable { mask })
        }
        _ => Ok(registers),
    }
}
