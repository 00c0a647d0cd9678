//! The device of the check: a PCI function with MSI-X and nothing else to do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vm_msix::{
    Counters, IntoBackend, MsiBackend, MsixCap, MsixConfig, MsixError, MsixLayout, MsixStateV1,
    Region,
};
use vm_pci_config::{
    Bar, BarIndex, ClassCode, Identity, PciConfigError, PciConfigSpace, PciConfigStateV1,
    Prefetchable,
};

/// Vendor ID: one that nobody was given.
pub(crate) const VENDOR: u16 = 0x1234;
/// Device ID: "MX".
pub(crate) const DEVICE: u16 = 0x4d58;
/// The registers of a device that has something to do would be here.
const REGISTERS: BarIndex = BarIndex::Bar0;
/// Table and PBA, in a 64-bit BAR of their own.
const MSIX: BarIndex = BarIndex::Bar2;

/// The function's MSI-X: shared by configuration space, the BAR's handler and the device's own life.
pub(crate) type SharedMsix<B> = Arc<Mutex<MsixConfig<B, Arc<Counters>>>>;

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
    space: Mutex<PciConfigSpace>,
    msix: SharedMsix<B>,
    layout: MsixLayout,
}

/// The device as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeviceState {
    pub(crate) config: PciConfigStateV1,
    pub(crate) msix: MsixStateV1,
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
        let pci_id = u32::from(DEVICE) << 16 | u32::from(VENDOR);
        let mut msix = MsixConfig::new(vectors, source, pci_id, "check")?
            .with_observer(Arc::new(Counters::default()));
        // The Command register is zero after power-on.
        msix.set_bus_master(false);
        let msix = Arc::new(Mutex::new(msix));

        let layout = MsixLayout::propose(vectors, MSIX.number())?;
        let bar_size = layout.min_bar_size(MSIX.number());
        let class = ClassCode { class: 0xff, subclass: 0, prog_if: 0 };
        let mut space = PciConfigSpace::new(Identity::new(VENDOR, DEVICE).class(class))?;
        space.add_bar(REGISTERS, Bar::memory32(0x1000, Prefetchable::No))?;
        space.add_bar(MSIX, Bar::memory64(bar_size, Prefetchable::No))?;
        space.add_capability_with_config(&MsixCap::of(layout), Box::new(msix.clone()))?;
        Ok(Self { space: Mutex::new(space), msix, layout })
    }

    /// The function's MSI-X.
    pub(crate) fn msix(&self) -> MutexGuard<'_, MsixConfig<B, Arc<Counters>>> {
        lock(&self.msix)
    }

    /// Stops the function and saves it: nothing of it is on its way to a CPU any more. Its producers have stopped
    /// before, and so have the CPUs, which could write registers.
    pub(crate) fn suspend(&self) -> DeviceState {
        let mut msix = self.msix();
        msix.pause();
        DeviceState { config: lock(&self.space).snapshot(), msix: msix.snapshot() }
    }

    /// Takes a saved state over, and stays paused: no interrupt comes before [`resume`](Self::resume).
    pub(crate) fn restore_suspended(&self, state: &DeviceState) -> Result<(), DeviceError> {
        // Whom it asks about bus mastering, MSI-X, has that in its own state.
        let _ = lock(&self.space).restore(&state.config)?;
        let mut msix = self.msix();
        msix.pause();
        Ok(msix.restore(&state.msix)?)
    }

    /// Goes on: what was pending and is open is delivered.
    pub(crate) fn resume(&self) {
        self.msix().resume();
    }

    /// Where in table or PBA an address is; outer `None` if it is in no BAR, inner if in no register.
    fn locate(&self, address: u64, len: usize) -> Option<Option<(Region, u64)>> {
        let hit = lock(&self.space).decode_memory(address, len)?;
        Some(self.layout.locate(hit.index.number(), hit.offset))
    }
}

impl<B: MsiBackend + 'static> PciDevice for TestDevice<B> {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        lock(&self.space).read(offset, data);
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        // Held until MSI-X has been told, so that two CPUs tell it in the order in which they wrote.
        let mut space = lock(&self.space);
        let outcome = space.write(offset, data);
        if let Some(allowed) = outcome.command.and_then(|change| change.bus_master()) {
            self.msix().set_bus_master(allowed);
        }
    }

    fn mmio_read(&self, address: u64, data: &mut [u8]) -> bool {
        let Some(place) = self.locate(address, data.len()) else {
            return false;
        };
        match place {
            Some((Region::Table, offset)) => self.msix().read_msix_table(offset, data),
            Some((Region::Pba, offset)) => self.msix().read_pba_entries(offset, data),
            _ => data.fill(0),
        }
        true
    }

    fn mmio_write(&self, address: u64, data: &[u8]) -> bool {
        let Some(place) = self.locate(address, data.len()) else {
            return false;
        };
        match place {
            Some((Region::Table, offset)) => {
                self.msix().write_msix_table(offset, data);
            }
            Some((Region::Pba, offset)) => self.msix().write_pba_entries(offset, data),
            _ => {}
        }
        true
    }
}

/// Locks, also after a thread that panicked: the registers are whole after every step.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
