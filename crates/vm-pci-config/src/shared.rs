//! A capability shared between the configuration space and the rest of the device.

use alloc::boxed::Box;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{PciCapConfig, PciCapConfigWriteResult, PciCapMapping};

/// The configuration space holds one clone, the BAR handler another, and both reach the same device.
///
/// Every call locks, so do not hold the lock while you read or write the configuration space. A poisoned lock
/// is taken all the same: a panic elsewhere in the VMM must not become one in a guest's register access.
impl<T: PciCapConfig> PciCapConfig for Arc<Mutex<T>> {
    fn read_mask(&self) -> &'static [u32] {
        lock(self).read_mask()
    }

    fn read_reg(&self, reg_idx: usize) -> u32 {
        lock(self).read_reg(reg_idx)
    }

    fn write_reg(
        &mut self,
        reg_idx: usize,
        offset: u64,
        data: &[u8],
    ) -> Option<Box<dyn PciCapConfigWriteResult>> {
        lock(self).write_reg(reg_idx, offset, data)
    }

    fn set_cap_mapping(&mut self, mapping: PciCapMapping) {
        lock(self).set_cap_mapping(mapping);
    }

    fn num_regs(&self) -> usize {
        lock(self).num_regs()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
