//! The devices that the user asked for, each put into a slot of the bus.
//!
//! To add a kind of device: a variant of [`DeviceKind`], an arm in [`plug`] that makes it from what its [`Slot`] offers, and a
//! [`Device`] implementation.

use std::error::Error;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use vm_memory::GuestMemoryMmap;
use vm_msix::Counts;
use vm_msix_kvm::{KvmBackend, KvmMsi};
use vm_pci_config::{EcamWindow, PciFunction};

use super::bridge::HostBridge;
use super::error::{BootError, lacks};
use super::intx::{self, Pin};
use super::layout::{BUSES, ECAM, intx_gsi};
use super::snapshot::{SnapshotError, decode};
use super::vm::Vm;
use crate::bus::PciBus;
use crate::cli::BootArgs;
use crate::device::PciDevice;
use crate::endpoint_test::EndpointTest;
use crate::function::Recording;
use crate::intx::IntxCause;
use crate::vhost_user::{BackendAt, LIMIT, VhostUserPci};
use crate::virtio::blk::Access;
use crate::virtio::{Block, Console, Entropy, VirtioDevice, VirtioPci};

/// Device numbers beside the host bridge's, which is 0.
const SLOTS: usize = 31;
/// Queues of a disk: as many CPUs can use it without a lock between them.
const DISK_QUEUES: u16 = 2;

/// Kinds of devices that need nothing but a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceKind {
    /// virtio-rng
    Rng,
    /// virtio-console: what the guest writes to /dev/hvc0 is printed
    Console,
    /// The device of the kernel's pci_endpoint_test driver, with --vectors vectors
    EndpointTest,
}

/// What goes into a slot.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    Disk(&'a Path),
    VhostUser(&'a BackendAt),
    Kind(DeviceKind),
}

/// A device in its slot.
pub(super) struct Plugged {
    pub(super) name: &'static str,
    pub(super) function: PciFunction,
    pub(super) vectors: u16,
    pub(super) pin: Arc<Pin>,
    pub(super) device: Arc<dyn Device>,
}

/// A device as the machine sees it.
pub(super) trait Device: PciDevice {
    /// Whom to ask about its pin.
    fn cause(&self) -> Arc<dyn IntxCause>;
    /// What its MSI-X has counted so far.
    fn counts(&self) -> Counts;
    /// Has everything that happens to its MSI-X written down.
    fn record(&self, recording: Recording);
    /// Stops the device, when the CPUs have stopped: it does nothing any more, and nothing of it is on its way to a CPU.
    fn pause(&self);
    /// Goes on.
    fn resume(&self);
    /// The state of a paused device.
    fn save(&self) -> Result<Vec<u8>, SnapshotError>;
    /// Takes a state over, into a new device, which stays paused. If it is refused, the device is of no use any more.
    fn restore(&self, state: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// What a slot offers to the device that is plugged in.
struct Slot {
    name: &'static str,
    vectors: u16,
    msi: KvmMsi,
    pin: Arc<Pin>,
    memory: GuestMemoryMmap,
}

/// All devices of `args`: first the disks, in their order, then those of other processes, then the others, in theirs.
pub(super) fn plug_all(args: &BootArgs, vm: &Vm) -> Result<Vec<Plugged>, BootError> {
    let disks = args.disk.iter().map(|path| Wanted::Disk(path));
    let backends = args.vhost_user.iter().map(Wanted::VhostUser);
    let kinds = args.device.iter().copied().map(Wanted::Kind);
    let wanted: Vec<_> = disks.chain(backends).chain(kinds).collect();
    if wanted.len() > SLOTS {
        return Err(BootError::TooManyDevices { devices: wanted.len(), max: SLOTS });
    }
    let plugged = wanted.into_iter().zip(1..).map(|(wanted, number)| {
        let function = PciFunction::new(0, number, 0).map_err(lacks("a device number"))?;
        let (name, vectors) = (wanted.name(), wanted.vectors(args));
        let pin = Pin::new(&vm.fd, intx_gsi(number))?;
        let (msi, memory) = (vm.msi(function), vm.memory.clone());
        let device = plug(wanted, Slot { name, vectors, msi, pin: pin.clone(), memory })?;
        pin.ask(Arc::downgrade(&device.cause()));
        if let Some(folder) = &args.record {
            let path = folder.join(format!("{number:02}-{name}.txt"));
            let recording = File::create(&path).and_then(|file| Recording::new(file, vectors));
            device.record(recording.map_err(|source| BootError::Recording { path, source })?);
        }
        Ok(Plugged { name, function, vectors, pin, device })
    });
    let plugged = plugged.collect::<Result<Vec<_>, BootError>>()?;
    intx::listen(plugged.iter().map(|plugged| plugged.pin.clone()).collect())?;
    Ok(plugged)
}

fn plug(wanted: Wanted<'_>, slot: Slot) -> Result<Arc<dyn Device>, BootError> {
    match wanted {
        Wanted::Disk(path) => virtio(disk(path)?, slot),
        Wanted::VhostUser(at) => {
            let Slot { name, vectors, msi, pin, memory } = slot;
            let device = VhostUserPci::connect(name, at, vectors, LIMIT, msi, pin, memory);
            Ok(Arc::new(device.map_err(|source| BootError::device(name, source))?))
        }
        Wanted::Kind(DeviceKind::Rng) => virtio(Entropy, slot),
        Wanted::Kind(DeviceKind::Console) => virtio(Console::new(io::stdout()), slot),
        Wanted::Kind(DeviceKind::EndpointTest) => {
            let Slot { name, vectors, msi, pin, memory } = slot;
            let device = EndpointTest::new(name, vectors, msi, pin, memory);
            Ok(Arc::new(device.map_err(|source| BootError::device(name, source))?))
        }
    }
}

fn virtio<D: VirtioDevice>(device: D, slot: Slot) -> Result<Arc<dyn Device>, BootError> {
    let Slot { name, vectors, msi, pin, memory } = slot;
    let device = VirtioPci::new(name, device, vectors, msi, pin, memory);
    Ok(Arc::new(device.map_err(|source| BootError::device(name, source))?))
}

/// A file as a disk, which the guest may write if we may.
fn disk(path: &Path) -> Result<Block, BootError> {
    let unusable = |source| BootError::DiskFile { path: path.into(), source };
    let writable = File::options().read(true).write(true).open(path);
    let (file, access) = match writable {
        Ok(file) => (file, Access::ReadWrite),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            (File::open(path).map_err(unusable)?, Access::ReadOnly)
        }
        Err(error) => return Err(unusable(error)),
    };
    let id = path.file_name().unwrap_or_default().to_string_lossy();
    Block::new(file, access, &id, DISK_QUEUES).map_err(unusable)
}

/// The bus with the host bridge and these devices.
pub(super) fn bus(bridge: Arc<HostBridge>, plugged: &[Plugged]) -> Result<PciBus, BootError> {
    let first = PciFunction::new(0, 0, 0).map_err(lacks("a device number"))?;
    let others = plugged.iter().map(|plugged| (plugged.function, plugged.device.clone() as Arc<_>));
    let functions = std::iter::once((first, bridge as Arc<_>)).chain(others).collect();
    let window = EcamWindow::new(BUSES).map_err(lacks("ECAM"))?;
    Ok(PciBus::new(functions).with_ecam(ECAM, window))
}

impl Wanted<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Disk(_) => "disk",
            Self::VhostUser(_) => "vhost-user",
            Self::Kind(DeviceKind::Rng) => "rng",
            Self::Kind(DeviceKind::Console) => "console",
            Self::Kind(DeviceKind::EndpointTest) => "endpoint-test",
        }
    }

    /// For virtio one for each queue, and one for changes of configuration.
    fn vectors(self, args: &BootArgs) -> u16 {
        match self {
            Self::Disk(_) => DISK_QUEUES + 1,
            Self::VhostUser(at) => at.kind.vectors(),
            Self::Kind(DeviceKind::Rng) => 2,
            Self::Kind(DeviceKind::Console) => 3,
            Self::Kind(DeviceKind::EndpointTest) => args.vectors,
        }
    }
}

impl<D: VirtioDevice> Device for VirtioPci<KvmBackend, D> {
    fn cause(&self) -> Arc<dyn IntxCause> {
        self.intx_cause()
    }

    fn counts(&self) -> Counts {
        VirtioPci::counts(self)
    }

    fn record(&self, recording: Recording) {
        VirtioPci::record(self, recording);
    }

    fn pause(&self) {
        VirtioPci::pause(self);
    }

    fn resume(&self) {
        VirtioPci::resume(self);
    }

    fn save(&self) -> Result<Vec<u8>, SnapshotError> {
        Ok(postcard::to_stdvec(&VirtioPci::save(self))?)
    }

    fn restore(&self, state: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(VirtioPci::restore(self, decode(state)?)?)
    }
}

/// It is not saved: its state is another process's, and the command line asks for one or the other.
impl Device for VhostUserPci<KvmBackend> {
    fn cause(&self) -> Arc<dyn IntxCause> {
        self.intx_cause()
    }

    fn counts(&self) -> Counts {
        VhostUserPci::counts(self)
    }

    fn record(&self, recording: Recording) {
        VhostUserPci::record(self, recording);
    }

    fn pause(&self) {}

    fn resume(&self) {}

    fn save(&self) -> Result<Vec<u8>, SnapshotError> {
        Err(SnapshotError::Elsewhere)
    }

    fn restore(&self, _state: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Err(SnapshotError::Elsewhere.into())
    }
}

impl Device for EndpointTest<KvmBackend> {
    fn cause(&self) -> Arc<dyn IntxCause> {
        self.intx_cause()
    }

    fn counts(&self) -> Counts {
        EndpointTest::counts(self)
    }

    fn record(&self, recording: Recording) {
        EndpointTest::record(self, recording);
    }

    fn pause(&self) {
        EndpointTest::pause(self);
    }

    fn resume(&self) {
        EndpointTest::resume(self);
    }

    fn save(&self) -> Result<Vec<u8>, SnapshotError> {
        Ok(postcard::to_stdvec(&EndpointTest::save(self))?)
    }

    fn restore(&self, state: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(EndpointTest::restore(self, decode(state)?)?)
    }
}
