//! The part of a PCI function that is the same for every device: configuration space, MSI-X, and the INTx pin.

mod interrupts;
mod pin;

use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use vm_msix::{
    Counters, Counts, IntoBackend, MsiBackend, MsixCap, MsixConfig, MsixLayout, MsixStateV1, Region,
};
use vm_pci_config::{BarHit, CommandChange, PciConfigSpace, PciConfigStateV1};

use crate::device::{DeviceError, lock};
use crate::intx::{Intx, IntxCause};

pub(crate) use interrupts::Interrupts;

/// A PCI function, but for what its device does.
pub(crate) struct Function<B: MsiBackend> {
    space: Mutex<PciConfigSpace>,
    msix: Arc<Mutex<MsixConfig<B, Arc<Counters>>>>,
    layout: MsixLayout,
    interrupts: Arc<Interrupts<B>>,
    counters: Arc<Counters>,
}

/// A function as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FunctionStateV1 {
    pub(crate) config: PciConfigStateV1,
    pub(crate) msix: MsixStateV1,
}

impl<B: MsiBackend + 'static> Function<B> {
    /// A function with this configuration space, to which the MSI-X capability is added.
    pub(crate) fn new(
        name: &str,
        mut space: PciConfigSpace,
        layout: MsixLayout,
        source: impl IntoBackend<Backend = B>,
        line: Arc<dyn Intx>,
    ) -> Result<Self, DeviceError> {
        let mut pci_id = [0; 4];
        space.read(0, &mut pci_id);
        let counters = Arc::new(Counters::default());
        let vectors = layout.vectors().get();
        let mut msix = MsixConfig::new(vectors, source, u32::from_le_bytes(pci_id), name)?
            .with_observer(Arc::clone(&counters));
        // The Command register is zero after power-on.
        msix.set_bus_master(false);
        let interrupts = Arc::new(Interrupts::new(&msix, line)?);
        let msix = Arc::new(Mutex::new(msix));
        space.add_capability_with_config(&MsixCap::of(layout), Box::new(msix.clone()))?;
        Ok(Self { space: Mutex::new(space), msix, layout, interrupts, counters })
    }

    /// How the device signals.
    pub(crate) fn interrupts(&self) -> &Arc<Interrupts<B>> {
        &self.interrupts
    }

    /// For whoever is asked whether the pin is still held up.
    pub(crate) fn intx_cause(&self) -> Arc<dyn IntxCause> {
        self.interrupts.pin.clone()
    }

    /// What became of its signals.
    pub(crate) fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// Takes the latched signals of all vectors back: what they were about is gone (C6).
    pub(crate) fn retract_all(&self) {
        let msix = self.msix();
        for vector in 0..msix.num_vectors() {
            // Every one of them exists, and whether it was latched does not matter.
            let _ = msix.retract(vector);
        }
    }

    /// Whether the function may read and write memory.
    pub(crate) fn bus_master(&self) -> bool {
        lock(&self.space).bus_master()
    }

    pub(crate) fn config_read(&self, offset: u16, data: &mut [u8]) {
        let mut space = lock(&self.space);
        space.set_interrupt_status(self.interrupts.pin.status());
        space.read(offset, data);
    }

    /// Writes configuration space, and tells MSI-X and the pin; what is left for the device is `told`, before any other access.
    pub(crate) fn config_write(&self, offset: u16, data: &[u8], told: impl FnOnce(CommandChange)) {
        // Held until all have been told, so that two CPUs tell them in the order in which they wrote.
        let mut space = lock(&self.space);
        let outcome = space.write(offset, data);
        if let Some(allowed) = outcome.command.and_then(|change| change.bus_master()) {
            self.msix().set_bus_master(allowed);
        }
        self.follow(&space);
        if let Some(change) = outcome.command {
            told(change);
        }
    }

    /// The BAR that a memory access hits.
    pub(crate) fn decode(&self, address: u64, len: usize) -> Option<BarHit> {
        lock(&self.space).decode_memory(address, len)
    }

    /// Reads the table or the PBA, if that is what was hit; tells whether it was.
    pub(crate) fn msix_read(&self, hit: BarHit, data: &mut [u8]) -> bool {
        match self.layout.locate(hit.index.number(), hit.offset) {
            Some((Region::Table, offset)) => self.msix().read_msix_table(offset, data),
            Some((Region::Pba, offset)) => self.msix().read_pba_entries(offset, data),
            _ => return false,
        }
        true
    }

    /// Writes the table or the PBA, if that is what was hit; tells whether it was.
    pub(crate) fn msix_write(&self, hit: BarHit, data: &[u8]) -> bool {
        match self.layout.locate(hit.index.number(), hit.offset) {
            Some((Region::Table, offset)) => {
                self.msix().write_msix_table(offset, data);
            }
            Some((Region::Pba, offset)) => self.msix().write_pba_entries(offset, data),
            _ => return false,
        }
        true
    }

    /// Stops the vectors, when the device's own threads have stopped: nothing is on its way to a CPU any more.
    pub(crate) fn pause(&self) {
        self.msix().pause();
        self.interrupts.pin.set_paused(true);
    }

    /// The state of a paused function.
    pub(crate) fn save(&self) -> FunctionStateV1 {
        FunctionStateV1 { config: lock(&self.space).snapshot(), msix: self.msix().snapshot() }
    }

    /// Takes a saved state over, and stays paused.
    pub(crate) fn restore(&self, state: &FunctionStateV1) -> Result<(), DeviceError> {
        let FunctionStateV1 { config, msix: saved } = state;
        let mut space = lock(&self.space);
        let mut msix = self.msix();
        msix.pause();
        self.interrupts.pin.set_paused(true);
        msix.restore(saved)?;
        // Whom it asks about bus mastering, MSI-X, has that in its own state.
        let _ = space.restore(config)?;
        drop(msix);
        self.follow(&space);
        Ok(())
    }

    /// Goes on: what was pending and is open is delivered, and a pin with a cause rises.
    pub(crate) fn resume(&self) {
        self.msix().resume();
        self.interrupts.pin.set_paused(false);
    }

    fn follow(&self, space: &PciConfigSpace) {
        self.interrupts.pin.follow(self.msix().enabled(), space.intx_disabled());
    }

    fn msix(&self) -> MutexGuard<'_, MsixConfig<B, Arc<Counters>>> {
        lock(&self.msix)
    }
}

/// Reads some bytes of registers or memory; what is behind them is zero.
pub(crate) fn read_bytes(from: &[u8], offset: u64, data: &mut [u8]) {
    data.fill(0);
    let from = usize::try_from(offset).ok().and_then(|offset| from.get(offset..));
    for (to, from) in data.iter_mut().zip(from.unwrap_or_default()) {
        *to = *from;
    }
}
