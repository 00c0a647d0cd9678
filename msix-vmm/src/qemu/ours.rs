//! Our function, with the same number of vectors and the same layout.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_msix::{
    MessageSender, MsiMessage, MsixCap, MsixConfig, MsixLayout, MsixStatus, Region, Signal,
    SignalBackend, SignalMode, VectorIndex,
};
use vm_pci_config::{Identity, PciConfigSpace};

use super::error::QemuError;
use super::op::{Access, Op, Width};
use crate::pci::{BUS_MASTER, COMMAND, MEMORY};

const VENDOR: u16 = 0x1234;
const DEVICE: u16 = 0x4d58;

/// Keeps every message, in order.
#[derive(Clone, Debug, Default)]
struct Outbox(Arc<Mutex<Vec<MsiMessage>>>);

impl MessageSender for Outbox {
    type Error = Infallible;

    fn check(&self, _message: MsiMessage) -> Result<(), Infallible> {
        Ok(())
    }

    fn send(&self, _vector: VectorIndex, message: MsiMessage) -> Result<(), Infallible> {
        lock(&self.0).push(message);
        Ok(())
    }
}

/// The function: `MsixConfig` in a configuration space, as a VMM puts them together.
pub(super) struct Ours {
    msix: Arc<Mutex<MsixConfig<SignalBackend<Outbox>>>>,
    space: PciConfigSpace,
    capability: u16,
    layout: MsixLayout,
    outbox: Outbox,
}

impl Ours {
    pub(super) fn new(layout: MsixLayout) -> Result<Self, QemuError> {
        let outbox = Outbox::default();
        let pci_id = u32::from(DEVICE) << 16 | u32::from(VENDOR);
        let vectors = layout.vectors().get();
        let msix = MsixConfig::new(vectors, SignalMode::new(outbox.clone()), pci_id, "qemu-diff")?;
        let msix = Arc::new(Mutex::new(msix));
        let mut space = PciConfigSpace::new(Identity::new(VENDOR, DEVICE))?;
        let config = Box::new(Arc::clone(&msix));
        let capability = space.add_capability_with_config(&MsixCap::of(layout), config)?;
        Ok(Self { msix, space, capability, layout, outbox })
    }

    /// Another one, of which nothing has been asked yet.
    pub(super) fn anew(&self) -> Result<Self, QemuError> {
        Self::new(self.layout)
    }

    pub(super) fn read(&self, access: Access) -> u64 {
        let mut bytes = [0; 8];
        let (data, _) = bytes.split_at_mut(access.width.bytes().into());
        match access.region {
            Region::Capability => self.space.read(self.capability + access.offset, data),
            Region::Table => self.msix().read_msix_table(access.offset.into(), data),
            Region::Pba => self.msix().read_pba_entries(access.offset.into(), data),
        }
        u64::from_le_bytes(bytes)
    }

    /// Writes; tells whether that changed a register.
    pub(super) fn write(&mut self, access: Access, value: u64) -> bool {
        let data = access.carried(value);
        match access.region {
            Region::Capability => {
                let outcome = self.space.write(self.capability + access.offset, &data);
                let mut statuses =
                    outcome.capabilities.iter().filter_map(|write| write.result.downcast_ref());
                statuses.any(|status: &MsixStatus| *status != MsixStatus::NothingToDo)
            }
            Region::Table => {
                let status = self.msix().write_msix_table(access.offset.into(), &data);
                status != MsixStatus::NothingToDo
            }
            Region::Pba => {
                self.msix().write_pba_entries(access.offset.into(), &data);
                false
            }
        }
    }

    /// Does what needs no allowance; what a read gave, else zero.
    pub(super) fn apply(&mut self, op: &Op) -> Result<u64, QemuError> {
        match op {
            Op::Read(access) => return Ok(self.read(*access)),
            Op::Write(access, value) => {
                self.write(*access, *value);
            }
            Op::Program(vector, dwords) => {
                for (access, value) in Access::programming(*vector, *dwords) {
                    self.write(access, value);
                }
            }
            Op::Trigger(vector) => {
                self.signal(*vector)?;
            }
            Op::BusMaster(allowed) => self.set_bus_master(*allowed),
            Op::Reset => {
                self.msix().reset();
                let outcome = self.space.reset();
                if let Some(allowed) = outcome.command.and_then(|change| change.bus_master()) {
                    self.msix().set_bus_master(allowed);
                }
                self.set_bus_master(true);
            }
        }
        Ok(0)
    }

    pub(super) fn signal(&mut self, vector: u16) -> Result<Signal, QemuError> {
        Ok(self.msix().trigger(vector)?)
    }

    /// Takes a latched signal back, as a device does whose cause is gone.
    pub(super) fn retract(&mut self, vector: u16) -> Result<(), QemuError> {
        self.msix().retract(vector)?;
        Ok(())
    }

    /// Whether MSI-X Enable is set.
    pub(super) fn is_enabled(&self) -> bool {
        self.msix().enabled()
    }

    /// The vectors that are neither masked nor disabled: only missing Bus Master Enable keeps their messages.
    pub(super) fn wait_for_the_bus(&self) -> Vec<u16> {
        let msix = self.msix();
        if !msix.enabled() || msix.masked() || self.space.bus_master() {
            return Vec::new();
        }
        let vectors = 0..self.layout.vectors().get();
        vectors.filter(|vector| !msix.table_masked(usize::from(*vector))).collect()
    }

    pub(super) fn control(&self) -> u16 {
        self.read(Access::new(Region::Capability, 2, Width::Word)) as u16
    }

    /// The QWORDs of the PBA.
    pub(super) fn pending(&self) -> Vec<u64> {
        let qwords = 0..self.layout.vectors().pba_qwords();
        qwords.map(|qword| self.read(Access::new(Region::Pba, qword * 8, Width::Qword))).collect()
    }

    /// The whole table.
    pub(super) fn table(&self) -> Vec<u8> {
        let dwords = 0..self.layout.vectors().get() * 4;
        let dword = |dword| self.read(Access::new(Region::Table, dword * 4, Width::Dword)) as u32;
        dwords.flat_map(|at| dword(at).to_le_bytes()).collect()
    }

    /// The messages since the last time.
    pub(super) fn take_messages(&mut self) -> Vec<MsiMessage> {
        std::mem::take(&mut lock(&self.outbox.0))
    }

    fn set_bus_master(&mut self, allowed: bool) {
        let command = if allowed { MEMORY | BUS_MASTER } else { MEMORY };
        let outcome = self.space.write(COMMAND, &command.to_le_bytes());
        if let Some(allowed) = outcome.command.and_then(|change| change.bus_master()) {
            self.msix().set_bus_master(allowed);
        }
    }

    fn msix(&self) -> MutexGuard<'_, MsixConfig<SignalBackend<Outbox>>> {
        lock(&self.msix)
    }
}

/// Locks, also after a thread that panicked: the registers are whole after every step.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
