//! The device of the check: a PCI function with MSI-X and nothing else to do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_msix::{IntoBackend, MsiBackend, MsixConfig, MsixError, MsixLayout};
use vm_pci_config::{
    Bar, BarIndex, ClassCode, Identity, PciConfigError, PciConfigSpace, Prefetchable,
};

use crate::function::{Function, FunctionStateV1, Watch};
use crate::intx::Intx;

/// Vendor ID: one that nobody was given.
pub(crate) const VENDOR: u16 = 0x1234;
/// Device ID: "MX".
pub(crate) const DEVICE: u16 = 0x4d58;
/// The registers of a device that has something to do would be here.
const REGISTERS: BarIndex = BarIndex::Bar0;
/// Table and PBA, in a 64-bit BAR of their own.
const MSIX: BarIndex = BarIndex::Bar2;

/// A PCI function as the bus sees it, whatever delivers its interrupts.
pub(crate) trait PciDevice: Send + Sync {
    /// Reads configuration space.
    fn config_read(&self, offset: u16, data: &mut [u8]);
    /// Writes configuration space.
    fn config_write(&self, offset: u16, data: &[u8]);
    /// Reads memory, if the address is in one of its BARs; tells whether it is.
    fn mmio_read(&self, address: u64, data: &mut [u8]) -> bool;
    /// Writes memory, if the address is in one of its BARs; tells whether it is.
    fn mmio_write(&self, address: u64, data: &[u8]) -> bool;
}

/// The device.
pub(crate) struct TestDevice<B: MsiBackend> {
    function: Function<B>,
}

/// It has no INTx pin.
struct NoPin;

impl Intx for NoPin {
    fn raise(&self) {}
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error(transparent)]
    Msix(#[from] MsixError),
    #[error(transparent)]
    Config(#[from] PciConfigError),
}

impl<B: MsiBackend + 'static> TestDevice<B> {
    pub(crate) fn new(
        vectors: u16,
        source: impl IntoBackend<Backend = B>,
    ) -> Result<Self, DeviceError> {
        let layout = MsixLayout::propose(vectors, MSIX.number())?;
        let bar_size = layout.min_bar_size(MSIX.number());
        let class = ClassCode { class: 0xff, subclass: 0, prog_if: 0 };
        let mut space = PciConfigSpace::new(Identity::new(VENDOR, DEVICE).class(class))?;
        space.add_bar(REGISTERS, Bar::memory32(0x1000, Prefetchable::No))?;
        space.add_bar(MSIX, Bar::memory64(bar_size, Prefetchable::No))?;
        Ok(Self { function: Function::new("check", space, layout, source, Arc::new(NoPin))? })
    }

    /// The function's MSI-X.
    pub(crate) fn msix(&self) -> MutexGuard<'_, MsixConfig<B, Arc<Watch>>> {
        self.function.msix()
    }

    /// Stops the function and saves it: nothing of it is on its way to a CPU any more. Its producers have stopped
    /// before, and so have the CPUs, which could write registers.
    pub(crate) fn suspend(&self) -> FunctionStateV1 {
        self.function.pause();
        self.function.save()
    }

    /// Takes a saved state over, and stays paused: no interrupt comes before [`resume`](Self::resume).
    pub(crate) fn restore_suspended(&self, state: &FunctionStateV1) -> Result<(), DeviceError> {
        self.function.restore(state)
    }

    /// Goes on: what was pending and is open is delivered.
    pub(crate) fn resume(&self) {
        self.function.resume();
    }
}

impl<B: MsiBackend + 'static> PciDevice for TestDevice<B> {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.function.config_read(offset, data);
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        self.function.config_write(offset, data, |_| {});
    }

    fn mmio_read(&self, address: u64, data: &mut [u8]) -> bool {
        let Some(hit) = self.function.decode(address, data.len()) else {
            return false;
        };
        if !self.function.msix_read(hit, data) {
            data.fill(0);
        }
        true
    }

    fn mmio_write(&self, address: u64, data: &[u8]) -> bool {
        let Some(hit) = self.function.decode(address, data.len()) else {
            return false;
        };
        self.function.msix_write(hit, data);
        true
    }
}

/// Locks, also after a thread that panicked: the registers are whole after every step.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
