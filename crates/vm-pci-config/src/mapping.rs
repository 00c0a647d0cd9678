//! The handle by which a device changes its own capability while the guest looks.

use alloc::sync::Arc;

use crate::PciConfigError;
use crate::registers::Values;
use crate::spec::CAPABILITY_HEADER;

/// A way for a device to change what the guest reads in one capability, from any thread and without a lock.
///
/// The space hands it out in [`PciCapConfig::set_cap_mapping`](crate::PciCapConfig::set_cap_mapping). It reaches
/// the registers of that capability and no others, and never the ID and the next pointer. Clones reach the same
/// registers. Bits that the capability's read mask claims come from `read_reg`, so a change of them here is not seen.
#[derive(Debug, Clone)]
pub struct PciCapMapping {
    values: Arc<Values>,
    first: usize,
    num_regs: usize,
}

impl PciCapMapping {
    pub(crate) fn new(values: Arc<Values>, first: usize, num_regs: usize) -> Self {
        Self { values, first, num_regs }
    }

    /// The number of registers within reach: the capability's length in DWORDs.
    pub fn num_regs(&self) -> usize {
        self.num_regs
    }

    /// Replaces the bits of `mask` in register `reg_idx` by those of `data`.
    ///
    /// It is one step: a guest's write to other bits of the register at the same time is not lost. In register 0
    /// the low 16 bits, the header, keep their value whatever `mask` says.
    pub fn set_reg(&self, reg_idx: usize, data: u32, mask: u32) -> Result<(), PciConfigError> {
        let reg = self.register(reg_idx)?;
        let mask = if reg_idx == 0 { mask & !CAPABILITY_HEADER } else { mask };
        self.values.store(reg, data, mask);
        Ok(())
    }

    /// What register `reg_idx` stores, such as the bits that a guest wrote, without what `read_reg` would add.
    pub fn reg(&self, reg_idx: usize) -> Result<u32, PciConfigError> {
        Ok(self.values.load(self.register(reg_idx)?))
    }

    fn register(&self, reg_idx: usize) -> Result<usize, PciConfigError> {
        if reg_idx < self.num_regs {
            Ok(self.first + reg_idx)
        } else {
            Err(PciConfigError::RegisterOutOfRange { reg_idx, num_regs: self.num_regs })
        }
    }
}
