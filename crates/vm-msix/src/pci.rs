//! MSI-X as a live capability of vm-pci-config's configuration space.

use alloc::boxed::Box;

use vm_pci_config::{
    CapabilityId, PciCapConfig, PciCapConfigWriteResult, PciCapMapping, PciCapability,
};

use crate::backend::MsiBackend;
use crate::capability::MsixCap;
use crate::config::MsixConfig;
use crate::guest_access::MsixStatus;
use crate::observer::MsixObserver;
use crate::spec;

impl PciCapability for MsixCap {
    fn id(&self) -> CapabilityId {
        CapabilityId::MSIX
    }

    fn bytes(&self) -> &[u8] {
        self.bytes()
    }

    /// None: the two that a guest writes are [`MsixConfig`]'s.
    fn writable_bits(&self) -> &[u32] {
        &[]
    }
}

impl PciCapConfigWriteResult for MsixStatus {}

/// The DWORDs of the capability, and the bits of them that are alive: MSI-X Enable and Function Mask.
const READ_MASK: [u32; 3] = [0xc000_0000, 0, 0];

/// Add it with the [`MsixCap`] of the same number of vectors; share it with the BAR's handler as
/// `Arc<Mutex<MsixConfig<_>>>`.
impl<B: MsiBackend, O: MsixObserver> PciCapConfig for MsixConfig<B, O> {
    fn read_mask(&self) -> &'static [u32] {
        &READ_MASK
    }

    fn read_reg(&self, reg_idx: usize) -> u32 {
        if reg_idx == 0 { self.read_msix_capability(0) } else { 0 }
    }

    fn write_reg(
        &mut self,
        reg_idx: usize,
        offset: u64,
        data: &[u8],
    ) -> Option<Box<dyn PciCapConfigWriteResult>> {
        let start = u64::try_from(reg_idx).ok()?.checked_mul(4)?.checked_add(offset)?;
        Some(Box::new(self.write_msix_capability(start, data)))
    }

    /// Not needed: the live bits are asked for at every read.
    fn set_cap_mapping(&mut self, _mapping: PciCapMapping) {}

    fn num_regs(&self) -> usize {
        // Three DWORDs.
        READ_MASK.len()
    }
}

const _: () = assert!(spec::CAPABILITY_SIZE == 4 * 3, "READ_MASK has a mask for every DWORD");
