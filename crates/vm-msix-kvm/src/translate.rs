//! From the message that the guest wrote to the one that KVM takes.

use vm_msix::MsiMessage;

use crate::error::KvmError;

/// Who sends a message, for those who tell functions apart by it: IOMMUs, and GIC ITS as its device ID.
///
/// On PCI it is bus, device and function in 16 bits; elsewhere up to 32. It is not `pci_id`, which says what
/// kind of device it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequesterId(pub u32);

impl RequesterId {
    /// That of a PCI function: 8 bits of bus, 5 of device, 3 of function; higher bits are cut off.
    pub const fn pci(bus: u8, device: u8, function: u8) -> Self {
        Self((bus as u32) << 8 | (device as u32 & 0x1f) << 3 | function as u32 & 0x7)
    }
}

/// How many bits of destination ID KVM was told that a message has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DestinationIds {
    /// Eight, in bits 19:12 of the address.
    #[default]
    Bits8,
    /// 32, the upper 24 in the upper half of the address: `KVM_CAP_X2APIC_API` with
    /// `KVM_X2APIC_API_USE_32BIT_IDS`.
    Bits32,
}

impl DestinationIds {
    /// Whether an x86 local APIC listens to this address; if not, it is memory.
    #[inline]
    pub(crate) fn is_doorbell(self, message: MsiMessage) -> bool {
        let window = message.address_low() & 0xfff0_0000 == 0xfee0_0000;
        window && (self == Self::Bits32 || message.address_high() == 0)
    }

    /// Refuses a translated message that KVM would refuse, or deliver to somebody else.
    #[inline]
    pub(crate) fn check(self, message: MsiMessage) -> Result<(), KvmError> {
        let forbidden = match self {
            Self::Bits8 => u32::MAX,
            Self::Bits32 => 0xff,
        };
        if message.address_high() & forbidden != 0 {
            return Err(KvmError::Message { address: message.address, destination_ids: self });
        }
        Ok(())
    }
}

/// What becomes of a function's messages on their way: interrupt remapping, other encodings.
///
/// Triggers of this process ask it at every delivery. Routes of descriptors are translated when they open; after a
/// change, call [`KvmBackend::invalidate_translations`](crate::KvmBackend::invalidate_translations), and hold no
/// lock then that [`translate`](Self::translate) takes.
///
/// Asked by any thread that signals, while a close may wait for it, and by threads that access registers: it
/// must not wait for register accesses of any function.
pub trait Translate: Send + Sync {
    /// The message that is to be delivered, `None` if it is blocked: then it goes nowhere, as an IOMMU fault
    /// does.
    fn translate(&self, requester: RequesterId, message: MsiMessage) -> Option<MsiMessage>;
}

/// 15-bit destination IDs without an IOMMU, as guests use them that see
/// `KVM_FEATURE_MSI_EXT_DEST_ID`: bits 11:5 of the address are bits 14:8 of the ID. Needs
/// [`DestinationIds::Bits32`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ExtendedDestinationId;

/// Set for messages in remappable format, which have other bits in that place.
const REMAPPABLE: u64 = 1 << 4;
/// Bits 14:8 of the destination ID, in the guest's address.
const EXTENDED_ID: u64 = 0x7f << 5;

impl Translate for ExtendedDestinationId {
    fn translate(&self, _requester: RequesterId, message: MsiMessage) -> Option<MsiMessage> {
        let MsiMessage { address, data } = message;
        if !DestinationIds::Bits8.is_doorbell(message) || address & REMAPPABLE != 0 {
            return Some(message);
        }
        let upper_id = (address & EXTENDED_ID) >> 5 << 8;
        Some(MsiMessage::new(address & !EXTENDED_ID | upper_id << 32, data))
    }
}
