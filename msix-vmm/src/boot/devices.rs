//! The devices that the user asked for, each put into a slot of the bus.
//!
//! To add a kind of device: a variant of [`DeviceKind`], and an arm in [`plug`] that makes it from what its [`Slot`] offers.

use std::sync::Arc;

use clap::ValueEnum;
use vm_memory::GuestMemoryMmap;
use vm_msix::Counts;
use vm_msix_kvm::KvmMsi;
use vm_pci_config::{EcamWindow, PciFunction};

use super::bridge::HostBridge;
use super::error::{BootError, lacks};
use super::intx::{self, Pin};
use super::layout::{BUSES, ECAM, intx_gsi};
use super::vm::Vm;
use crate::bus::PciBus;
use crate::cli::BootArgs;
use crate::device::{DeviceError, PciDevice, TestDevice};

/// Device numbers beside the host bridge's, which is 0.
const SLOTS: usize = 31;

/// Kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceKind {
    /// A function that has MSI-X and nothing else, to look at
    Msix,
}

/// A device in its slot.
pub(super) struct Plugged {
    pub(super) name: &'static str,
    pub(super) function: PciFunction,
    pub(super) vectors: u16,
    pub(super) pin: Arc<Pin>,
    /// What its MSI-X has counted so far.
    pub(super) counts: Box<dyn Fn() -> Counts>,
    device: Arc<dyn PciDevice>,
}

/// What a slot offers to the device that is plugged in.
struct Slot<'a> {
    function: PciFunction,
    msi: KvmMsi,
    pin: Arc<Pin>,
    memory: &'a GuestMemoryMmap,
}

/// All devices of `args`, in their order.
pub(super) fn plug_all(args: &BootArgs, vm: &Vm) -> Result<Vec<Plugged>, BootError> {
    let kinds = &args.device;
    if kinds.len() > SLOTS {
        return Err(BootError::TooManyDevices { devices: kinds.len(), max: SLOTS });
    }
    let devices = kinds.iter().zip(1..).map(|(kind, number)| {
        let function = PciFunction::new(0, number, 0).map_err(lacks("a device number"))?;
        let pin = Pin::new(&vm.fd, intx_gsi(number))?;
        let slot = Slot { function, msi: vm.msi(function), pin, memory: &vm.memory };
        plug(*kind, slot, args).map_err(|source| BootError::Device { name: kind.name(), source })
    });
    let devices = devices.collect::<Result<Vec<_>, _>>()?;
    intx::listen(devices.iter().map(|plugged| plugged.pin.clone()).collect())?;
    Ok(devices)
}

fn plug(kind: DeviceKind, slot: Slot<'_>, args: &BootArgs) -> Result<Plugged, DeviceError> {
    let Slot { function, msi, pin, memory: _ } = slot;
    let name = kind.name();
    match kind {
        DeviceKind::Msix => {
            let device = Arc::new(TestDevice::new(args.vectors, msi)?);
            let counted = device.clone();
            let counts = Box::new(move || counted.msix().observer().counts());
            Ok(Plugged { name, function, vectors: args.vectors, pin, counts, device })
        }
    }
}

/// The bus with the host bridge and these devices.
pub(super) fn bus(devices: &[Plugged]) -> Result<PciBus, BootError> {
    let bridge: Arc<dyn PciDevice> = Arc::new(HostBridge::new().map_err(lacks("the host bridge"))?);
    let first = PciFunction::new(0, 0, 0).map_err(lacks("a device number"))?;
    let others = devices.iter().map(|plugged| (plugged.function, plugged.device.clone()));
    let functions = std::iter::once((first, bridge)).chain(others).collect();
    let window = EcamWindow::new(BUSES).map_err(lacks("ECAM"))?;
    Ok(PciBus::new(functions).with_ecam(ECAM, window))
}

impl DeviceKind {
    fn name(self) -> &'static str {
        match self {
            Self::Msix => "msix",
        }
    }
}
