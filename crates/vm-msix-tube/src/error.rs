//! Everything that can go wrong, in one place.

use std::io;

/// Why something did not go through the tube.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TubeError {
    /// The other side has gone, or has ended the connection.
    #[error("the other side of the tube is gone")]
    Disconnected,
    /// The other side did not answer, or did not read, in the time that it was given.
    #[error("the other side of the tube did not answer in time")]
    TimedOut,
    /// A system call failed.
    #[error("{call}: {source}")]
    Call {
        /// The call.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The descriptor is no `SOCK_SEQPACKET` socket.
    #[error("not a SOCK_SEQPACKET socket")]
    NotATube,
    /// The message takes more bytes than a frame has.
    #[error("a message takes more than {max} bytes: send it in parts")]
    TooLong {
        /// Bytes that a frame has.
        max: usize,
    },
    /// More descriptors than a message can have.
    #[error("{descriptors} descriptors with one message, which takes {max}")]
    TooManyDescriptors {
        /// How many there are.
        descriptors: usize,
        /// How many there can be.
        max: usize,
    },
    /// Descriptors that came with a message were lost, because this process may have no more, or not these.
    #[error("descriptors that came with a message were lost: this process may have no more")]
    DescriptorsLost,
    /// The other side sent what no tube sends.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The other side sent bytes that are not the message that is expected.
    #[error("a message that cannot be read: {0}")]
    Undecodable(postcard::Error),
    /// A message could not be written.
    #[error("a message that cannot be written: {0}")]
    Unencodable(postcard::Error),
    /// A message was sent or taken halfway: nothing after it has a meaning.
    #[error("the tube broke in the middle of a message")]
    Broken,
    /// The server does not serve this.
    #[error("refused: {0}")]
    Refused(crate::Refusal),
    /// The server could not do it for this vector.
    #[error("the VMM could not open the vector")]
    Vector(crate::VectorFailure),
}

impl TubeError {
    pub(crate) fn call(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Call { call, source: errno.into() }
    }
}
