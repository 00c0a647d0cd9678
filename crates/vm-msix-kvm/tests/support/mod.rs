//! What the tests of this crate share: a VM whose interrupts can be seen, and routing tables that watch or fail.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod deferred;
pub(crate) mod fixture;
pub(crate) mod gated;
pub(crate) mod lapic;
pub(crate) mod long;
pub(crate) mod open;
pub(crate) mod producer;
pub(crate) mod tables;
pub(crate) mod taps;
pub(crate) mod wait;

use vm_msix::test_utils::GuestDriver;
use vm_msix::{MsiMessage, MsixConfig, MsixObserver, VectorIndex};
use vm_msix_kvm::KvmBackend;

/// A function under test.
pub(crate) type Msix<O = ()> = MsixConfig<KvmBackend, O>;

/// The guest's driver, for as long as it does something.
pub(crate) fn guest<O: MsixObserver>(msix: &mut Msix<O>) -> GuestDriver<&mut Msix<O>> {
    GuestDriver::new(msix)
}

/// The message for an APIC with an 8-bit ID, in physical destination mode.
pub(crate) const fn to_apic(id: u8, vector: u8) -> MsiMessage {
    MsiMessage::new(0xfee0_0000 | (id as u64) << 12, vector as u32)
}

/// Ordinary memory, as iPXE uses it for a doorbell.
pub(crate) const MEMORY: u64 = 0x0010_0000;

/// A write to ordinary memory, with this data.
pub(crate) const fn to_memory(data: u32) -> MsiMessage {
    MsiMessage::new(MEMORY, data)
}

/// A vector's index.
pub(crate) fn index(vector: u16) -> VectorIndex {
    VectorIndex::new(vector).unwrap()
}

/// The vectors that the function lists as unsynced.
pub(crate) fn unsynced<O: MsixObserver>(msix: &Msix<O>) -> Vec<u16> {
    msix.unsynced().map(VectorIndex::get).collect()
}
