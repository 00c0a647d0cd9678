//! A host, as the process that starts it sees it.

use std::io;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::messages::{Departure, Order, Reply};
use super::wire::{Wire, WireError};
use crate::check::rest::Seen;
use crate::cli::HOST_COMMAND;

/// A process of this program that hosts one VM, once. It is killed if it is dropped before its end.
pub(super) struct Process {
    child: Child,
    wire: Wire<ChildStdout, ChildStdin>,
}

/// Why a VM was lost.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostError {
    #[error("a host could not be started: {0}")]
    NotStarted(#[source] io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{0}")]
    Failed(String),
    #[error("the host said {0} out of turn")]
    OutOfTurn(String),
    #[error("the host could not be waited for: {0}")]
    NotWaitedFor(#[source] io::Error),
    #[error("the host ended with {0}")]
    Ended(ExitStatus),
}

impl Process {
    pub(super) fn start() -> Result<Self, HostError> {
        let start = || {
            let mut child = Command::new(std::env::current_exe()?)
                .arg(HOST_COMMAND)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let ends = child.stdout.take().zip(child.stdin.take());
            let (reader, writer) = ends.ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(Self { child, wire: Wire::new(reader, writer) })
        };
        start().map_err(HostError::NotStarted)
    }

    /// Tells it what to do, and gives it the state with which to continue.
    pub(super) fn order(&mut self, order: &Order, state: Option<&[u8]>) -> Result<(), HostError> {
        self.wire.send(order)?;
        Ok(state.map_or(Ok(()), |state| self.wire.send_bytes(state))?)
    }

    pub(super) fn resumed(&mut self) -> Result<(), HostError> {
        match self.reply()? {
            Reply::Resumed => Ok(()),
            other => Err(out_of_turn(&other)),
        }
    }

    pub(super) fn at_rest(&mut self) -> Result<Seen, HostError> {
        match self.reply()? {
            Reply::AtRest(seen) => Ok(seen),
            other => Err(out_of_turn(&other)),
        }
    }

    /// How long the VM that leaves has been stopped.
    pub(super) fn leaving(&mut self) -> Result<Duration, HostError> {
        match self.reply()? {
            Reply::Leaving { stopped_for } => Ok(stopped_for),
            other => Err(out_of_turn(&other)),
        }
    }

    /// The VM that left, and its state, which is not looked into here.
    pub(super) fn left(&mut self) -> Result<(Departure, Vec<u8>), HostError> {
        match self.reply()? {
            Reply::Left(departure) => Ok((departure, self.wire.receive_bytes()?)),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Waits for its end.
    pub(super) fn ended(mut self) -> Result<(), HostError> {
        let status = self.child.wait().map_err(HostError::NotWaitedFor)?;
        if status.success() { Ok(()) } else { Err(HostError::Ended(status)) }
    }

    fn reply(&mut self) -> Result<Reply, HostError> {
        match self.wire.receive()? {
            Reply::Failed(why) => Err(HostError::Failed(why)),
            reply => Ok(reply),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing happens to one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn out_of_turn(reply: &Reply) -> HostError {
    HostError::OutOfTurn(format!("{reply:?}"))
}
