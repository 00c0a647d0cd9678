//! How a guest ends, told by whoever sees it first.

use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender};

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The guest powered its machine off.
    PowerOff,
    /// The guest asked for a reset.
    Reset,
    /// A CPU shut down, which resets a machine: kernels end like that if nothing else works.
    TripleFault { cpu: usize },
    /// Ctrl-A x on the terminal.
    User,
    /// The VMM was asked to end.
    Signal(i32),
    /// The guest is to go on later, from a file.
    Snapshot,
    /// A CPU cannot go on.
    CpuFailed { cpu: usize, reason: String },
}

impl End {
    /// Whether somebody wanted it so.
    pub(super) fn is_clean(&self) -> bool {
        matches!(
            self,
            Self::PowerOff | Self::Reset | Self::TripleFault { .. } | Self::User | Self::Snapshot
        )
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff => write!(f, "the guest powered off"),
            Self::Reset => write!(f, "the guest asked for a reset, and is not started again"),
            Self::TripleFault { cpu } => {
                write!(
                    f,
                    "CPU {cpu} shut down by a triple fault, and the guest is not started again"
                )
            }
            Self::User => write!(f, "ended by Ctrl-A x"),
            Self::Snapshot => write!(f, "the guest is saved"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::CpuFailed { cpu, reason } => write!(f, "CPU {cpu} cannot go on: {reason}"),
        }
    }
}

/// Tells that the guest has ended; the first to do so is heard.
#[derive(Clone, Debug)]
pub(super) struct Ending(Sender<End>);

impl Ending {
    /// Who tells, and who waits.
    pub(super) fn channel() -> (Self, Receiver<End>) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), receiver)
    }

    pub(super) fn tell(&self, end: End) {
        // Nobody listens any more if it has ended already.
        let _ = self.0.send(end);
    }
}
