//! The place on the bus where a device process is, one after the other.

use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use serde::de::DeserializeOwned;
use vm_msix::{Counts, MsixStateV1, Signal};
use vm_msix_kvm::KvmMsi;
use vm_msix_tube::{Quota, Server, ServerError, SessionEnd, Tube, TubeError};

use super::descriptors::DescriptorAction;
use super::device_side::{DeviceSide, Done, Producer};
use super::rig::HANG;
use super::verdict::Failure;
use crate::device::PciDevice;
use crate::device_process::{Counted, DeviceProcess, Forbidden, Request, StartError};

/// A function whose registers and latches are in another process. Where that is gone, it reads as nothing.
pub(crate) struct RemoteDevice {
    vectors: u16,
    process: Mutex<Arc<DeviceProcess>>,
    sessions: Sessions,
}

/// The VMM's end of what device processes have to do with interrupts.
struct Sessions {
    server: Server,
    delivery: KvmMsi,
    tell: mpsc::Sender<SessionEnd>,
    ended: Mutex<mpsc::Receiver<SessionEnd>>,
}

/// Why no device process is there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("no tube: {0}")]
    Tube(#[from] TubeError),
}

impl RemoteDevice {
    /// With a first process, whose vectors are delivered like this.
    pub(crate) fn new(vectors: u16, delivery: KvmMsi) -> Result<Self, RemoteError> {
        let sessions = Sessions::new(delivery)?;
        let process = sessions.start(vectors)?;
        Ok(Self { vectors, process: Mutex::new(Arc::new(process)), sessions })
    }

    /// Puts a new process in the place of the one that is there.
    pub(crate) fn restart(&self) -> Result<(), RemoteError> {
        let process = Arc::new(self.sessions.start(self.vectors)?);
        let before = std::mem::replace(&mut *lock(&self.process), process);
        drop(before);
        Ok(())
    }

    /// Signals a vector.
    pub(crate) fn trigger(&self, vector: u16) -> Done<Signal> {
        self.process().trigger(vector)
    }

    /// Has the process do what it must not do.
    pub(crate) fn attempt(&self, forbidden: Forbidden) -> Done<()> {
        self.ask(&Request::Try(forbidden))
    }

    /// Has it do something with the descriptors of its vectors.
    pub(crate) fn act_on_descriptors(&self, action: DescriptorAction) -> Done<()> {
        self.act(&Request::Descriptors(action))
    }

    /// Ends the process with `SIGKILL`, wherever it is.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.process().kill()
    }

    /// Waits for the end of the process, and then for that of its session, which has given everything back.
    pub(crate) fn wait_for_end(&self) -> Result<(ExitStatus, SessionEnd), Failure> {
        let failure = |what: String| Failure::Seen(format!("the end of a device process: {what}"));
        let status = self.process().wait().map_err(|error| failure(error.to_string()))?;
        let ended = lock(&self.sessions.ended).recv_timeout(HANG);
        Ok((status, ended.map_err(|error| failure(error.to_string()))?))
    }

    /// Sessions that have not ended.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.server.sessions()
    }

    /// Producers that have the process signal.
    pub(crate) fn producers(self: &Arc<Self>) -> Vec<Producer> {
        let producer = |vector| -> Producer {
            let remote = Arc::clone(self);
            Arc::new(move || Ok(remote.trigger(vector)?))
        };
        (0..self.vectors).map(producer).collect()
    }

    fn process(&self) -> Arc<DeviceProcess> {
        lock(&self.process).clone()
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request) -> Done<T> {
        Ok(self.process().ask(request)?)
    }

    fn act<T: DeserializeOwned>(&self, request: &Request) -> Done<T> {
        self.ask::<Done<T>>(request)?
    }
}

impl Sessions {
    fn new(delivery: KvmMsi) -> Result<Self, ServerError> {
        let (tell, ended) = mpsc::channel();
        Ok(Self { server: Server::spawn()?, delivery, tell, ended: Mutex::new(ended) })
    }

    /// Starts a process, and serves it.
    fn start(&self, vectors: u16) -> Result<DeviceProcess, RemoteError> {
        let (here, there) = Tube::pair()?;
        let tell = self.tell.clone();
        let ended = move |reason| tell.send(reason).unwrap_or_default();
        self.server.serve(here, self.delivery.clone(), Quota { vectors }, ended)?;
        Ok(DeviceProcess::start(vectors, there)?)
    }
}

impl PciDevice for RemoteDevice {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        let bytes = data.len() as u8;
        match self.ask::<Vec<u8>>(&Request::ConfigRead { offset, bytes }) {
            Ok(read) if read.len() == data.len() => data.copy_from_slice(&read),
            _ => data.fill(0xff),
        }
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        // Nobody is told where nobody is.
        let _ = self.ask::<()>(&Request::ConfigWrite { offset, data: data.into() });
    }

    fn mmio_read(&self, address: u64, data: &mut [u8]) -> bool {
        let bytes = data.len() as u8;
        match self.ask::<Option<Vec<u8>>>(&Request::MmioRead { address, bytes }) {
            Ok(Some(read)) if read.len() == data.len() => data.copy_from_slice(&read),
            _ => return false,
        }
        true
    }

    fn mmio_write(&self, address: u64, data: &[u8]) -> bool {
        self.ask(&Request::MmioWrite { address, data: data.into() }).unwrap_or(false)
    }
}

impl DeviceSide for RemoteDevice {
    fn retract(&self, vector: u16) -> Done<bool> {
        self.act(&Request::Retract(vector))
    }

    fn reset(&self) -> Done<()> {
        self.act(&Request::Reset)
    }

    fn save(&self) -> Done<MsixStateV1> {
        self.act(&Request::Save)
    }

    fn restore(&self, state: &MsixStateV1) -> Done<()> {
        self.act(&Request::Restore(state.clone()))
    }

    fn enabled(&self) -> Done<bool> {
        self.act(&Request::Enabled)
    }

    fn unsynced(&self) -> Done<usize> {
        self.act(&Request::Unsynced)
    }

    fn flush(&self) -> Done<()> {
        self.act(&Request::Flush)
    }

    fn counts(&self) -> Done<Counts> {
        self.act(&Request::Counts).map(|Counted(counts)| counts)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
