//! The part of a PCI function that is the same for every device: configuration space, MSI-X, and the INTx pin.

mod interrupts;
mod pin;
mod recording;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use vm_msix::{
    Counts, IntoBackend, MsiBackend, MsixCap, MsixConfig, MsixLayout, MsixStateV1, Region,
};
use vm_pci_config::{BarHit, CommandChange, PciConfigSpace, PciConfigStateV1};

use crate::device::{DeviceError, lock};
use crate::intx::{Intx, IntxCause};

pub(crate) use interrupts::Interrupts;
pub(crate) use recording::Recording;
pub(crate) use watch::Watch;

/// Bytes of the MSI-X Capability (PCIe Base 7.7.2).
const MSIX_CAPABILITY_SIZE: u64 = 12;

/// The MSI-X of a function: for register accesses, and for who puts vectors on descriptors.
pub(crate) type SharedMsix<B> = Arc<Mutex<MsixConfig<B, Arc<Watch>>>>;

/// A PCI function, but for what its device does.
pub(crate) struct Function<B: MsiBackend> {
    space: Mutex<PciConfigSpace>,
    msix: SharedMsix<B>,
    layout: MsixLayout,
    /// Where its capability is in configuration space.
    capability: u16,
    interrupts: Arc<Interrupts<B>>,
    watch: Arc<Watch>,
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
        let watch = Arc::new(Watch::default());
        let vectors = layout.vectors().get();
        let mut msix = MsixConfig::new(vectors, source, u32::from_le_bytes(pci_id), name)?
            .with_observer(Arc::clone(&watch));
        // The Command register is zero after power-on.
        msix.set_bus_master(false);
        let interrupts = Arc::new(Interrupts::new(&msix, Arc::clone(&watch), line)?);
        let msix = Arc::new(Mutex::new(msix));
        let capability =
            space.add_capability_with_config(&MsixCap::of(layout), Box::new(msix.clone()))?;
        Ok(Self { space: Mutex::new(space), msix, layout, capability, interrupts, watch })
    }

    /// Its MSI-X, for who puts vectors on descriptors.
    pub(crate) fn shared_msix(&self) -> SharedMsix<B> {
        Arc::clone(&self.msix)
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
        self.watch.counts()
    }

    /// Writes down what the guest does to MSI-X from now on, and what comes of it.
    pub(crate) fn record(&self, recording: Recording) {
        self.watch.record(recording);
    }

    /// Takes the latched signals of all vectors back: what they were about is gone (C6).
    pub(crate) fn retract_all(&self) {
        let _turn = self.watch.turn();
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
        let turn = self.watch.turn();
        space.set_interrupt_status(self.interrupts.pin.status());
        space.read(offset, data);
        if let (Some(turn), Some(offset)) = (turn, self.in_capability(offset, data.len())) {
            turn.read(Region::Capability, offset, data);
        }
    }

    /// Writes configuration space, and tells MSI-X and the pin; what is left for the device is `told`, before any other access.
    pub(crate) fn config_write(&self, offset: u16, data: &[u8], told: impl FnOnce(CommandChange)) {
        // Held until all have been told, so that two CPUs tell them in the order in which they wrote.
        let mut space = lock(&self.space);
        let turn = self.watch.turn();
        if let (Some(turn), Some(offset)) = (&turn, self.in_capability(offset, data.len())) {
            turn.write(Region::Capability, offset, data);
        }
        let outcome = space.write(offset, data);
        if let Some(allowed) = outcome.command.and_then(|change| change.bus_master()) {
            self.msix().set_bus_master(allowed);
        }
        self.follow(&space);
        // Whom the device waits for now may have to signal first.
        drop(turn);
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
        let Some((region, offset)) = self.layout.locate(hit.index.number(), hit.offset) else {
            return false;
        };
        let turn = self.watch.turn();
        match region {
            Region::Table => self.msix().read_msix_table(offset, data),
            Region::Pba => self.msix().read_pba_entries(offset, data),
            Region::Capability => return false,
        }
        if let Some(turn) = turn {
            turn.read(region, offset, data);
        }
        true
    }

    /// Writes the table or the PBA, if that is what was hit; tells whether it was.
    pub(crate) fn msix_write(&self, hit: BarHit, data: &[u8]) -> bool {
        let Some((region, offset)) = self.layout.locate(hit.index.number(), hit.offset) else {
            return false;
        };
        let turn = self.watch.turn();
        if let Some(turn) = &turn {
            turn.write(region, offset, data);
        }
        match region {
            Region::Table => drop(self.msix().write_msix_table(offset, data)),
            Region::Pba => self.msix().write_pba_entries(offset, data),
            Region::Capability => return false,
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

    pub(crate) fn msix(&self) -> MutexGuard<'_, MsixConfig<B, Arc<Watch>>> {
        lock(&self.msix)
    }

    /// Where in the capability an access to configuration space is, if it is all in it.
    fn in_capability(&self, offset: u16, len: usize) -> Option<u64> {
        let offset = u64::from(offset.checked_sub(self.capability)?);
        (offset + len as u64 <= MSIX_CAPABILITY_SIZE).then_some(offset)
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
