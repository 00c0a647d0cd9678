//! The device process, as the VMM has it.

use std::env;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping, FdMappingCollision};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vm_msix::Signal;
use vm_msix_tube::{Tube, TubeError};

use super::protocol::{FIRST_TUBE, Request, TRIGGER_TUBES, Told};
use crate::check::device_side::{ActionError, Done};

/// A device process that takes longer for an answer hangs. It is given longer than the guest is, which waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that is started, killed at the latest when this is dropped, and waited for.
pub(crate) struct DeviceProcess {
    child: Mutex<Child>,
    requests: Channel,
    triggers: Vec<Channel>,
}

/// Why there is no device process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("no sockets for a device process: {0}")]
    Tube(#[from] TubeError),
    #[error("no descriptors for a device process: {0}")]
    Descriptors(#[from] FdMappingCollision),
    #[error("no device process: {0}")]
    Start(#[from] io::Error),
}

impl DeviceProcess {
    /// Starts a device with so many vectors, whose interrupts are served at the other end of a tube.
    pub(crate) fn start(vectors: u16, interrupts: Tube) -> Result<Self, StartError> {
        let (requests, asked) = Channel::pair()?;
        let channels =
            (0..TRIGGER_TUBES).map(|_| Channel::pair()).collect::<Result<Vec<_>, _>>()?;
        let (triggers, signalled): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
        let theirs = [interrupts.into_socket(), asked].into_iter().chain(signalled);
        let mappings = (FIRST_TUBE..).zip(theirs);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        // What is not named here is closed in the child, and its ends of the sockets are closed here with the command.
        let child = Command::new(env::current_exe()?)
            .args(["device", "--vectors", &vectors.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .fd_mappings(mappings.collect())?
            .spawn()?;
        Ok(Self { child: Mutex::new(child), requests, triggers })
    }

    /// Asks, and waits for the answer, whose type belongs to the request.
    pub(crate) fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, TubeError> {
        self.requests.ask(request)
    }

    /// Has it signal a vector. Threads that signal even and odd vectors do not wait for each other.
    pub(crate) fn trigger(&self, vector: u16) -> Done<Signal> {
        let told: Done<Told> = self.triggers[usize::from(vector) % TRIGGER_TUBES].ask(&vector)?;
        told.map(|Told(signal)| signal)
    }

    /// Ends it with `SIGKILL`, wherever it is, and waits for nothing.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.child().kill()
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) -> io::Result<ExitStatus> {
        self.child().wait()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DeviceProcess {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for.
        let _ = self.kill();
        let _ = self.wait();
    }
}

/// A socket on which every request is answered before the next one.
struct Channel(Mutex<Tube>);

impl Channel {
    /// This end, and the device process's.
    fn pair() -> Result<(Self, OwnedFd), TubeError> {
        let (here, there) = Tube::pair()?;
        here.set_recv_timeout(Some(PATIENCE))?;
        Ok((Self(Mutex::new(here)), there.into_socket()))
    }

    fn ask<T: DeserializeOwned>(&self, request: &impl Serialize) -> Result<T, TubeError> {
        let tube = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = tube.send(request).and_then(|()| tube.recv());
        // What came after all would be taken for the answer to something else.
        answer.inspect_err(|_| tube.shut_down())
    }
}

impl From<TubeError> for ActionError {
    fn from(error: TubeError) -> Self {
        Self(error.to_string())
    }
}
