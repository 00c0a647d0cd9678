//! What can be wrong with a file from which a guest is to go on.

use std::io;

/// Why a file is not taken. It is not trusted: whatever is in it, no guest runs that is half restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("this is no saved guest")]
    NotASnapshot,
    #[error("it is of version {found}, and only version {known} is known here")]
    Version { found: u32, known: u32 },
    #[error("it ends too early")]
    Truncated,
    #[error("its {what} is damaged")]
    Damaged { what: &'static str },
    #[error("{found} runs of memory are in it, and {written} were written")]
    Runs { found: u64, written: u64 },
    #[error("something follows its end")]
    Trailing,
    #[error("a state of {bytes} bytes, where {max} are the most that a guest can have")]
    StateSize { bytes: u64, max: u64 },
    #[error("its state is none of a guest's: {0}")]
    State(#[from] postcard::Error),
    /// A device whose state is not ours.
    #[error("the state of a vhost-user device is another process's")]
    Elsewhere,
    #[error(
        "{bytes} bytes of memory at {address:#x}, where the guest has none, or had them already"
    )]
    Memory { address: u64, bytes: u64 },
    #[error("it was saved on CPUs of another kind")]
    OtherCpus,
    #[error("it has these devices: {saved}; and here are: {here}")]
    OtherDevices { saved: String, here: String },
    #[error("its serial line has more in its FIFO than a FIFO holds")]
    Serial,
}
