//! A socket for messages and descriptors.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::PoisonError;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_type};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TubeError;
use crate::frame::{Wait, Whole};
use crate::inbox::Inbox;
use crate::outbox::Outbox;
use crate::sys::{Mutex, MutexGuard, shutdown, socketpair};

/// One end of a connection between two processes, which carries messages of any serde type, and descriptors with them.
///
/// A message arrives whole or not at all, in order, once. Whatever the other side sends, a tube allocates no more than
/// [`MAX_MESSAGE`](crate::MAX_MESSAGE) bytes and takes no more than [`MAX_DESCRIPTORS`](crate::MAX_DESCRIPTORS) descriptors for a message; they are closed on
/// exec, and closed at once if the message that they came with is not taken.
///
/// # Threading
///
/// One thread at a time sends, and one receives; others wait.
///
/// ```
/// use vm_msix_tube::Tube;
///
/// let (here, there) = Tube::pair()?;
/// here.send(&("queue", 3_u16))?;
/// assert_eq!(there.recv::<(String, u16)>()?, ("queue".into(), 3));
/// # Ok::<(), vm_msix_tube::TubeError>(())
/// ```
pub struct Tube {
    socket: OwnedFd,
    outbox: Mutex<Outbox>,
    inbox: Mutex<Inbox>,
}

impl Tube {
    /// Two ends.
    ///
    /// # Errors
    ///
    /// [`TubeError::Call`] if there is no socket to be had.
    pub fn pair() -> Result<(Self, Self), TubeError> {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(TubeError::call("socketpair"))?;
        Ok((Self::of(one), Self::of(other)))
    }

    /// The end that somebody passed on: inherited, or received. It is closed on exec from now on.
    ///
    /// # Errors
    ///
    /// [`TubeError::NotATube`] if it is another kind of descriptor.
    pub fn from_socket(socket: OwnedFd) -> Result<Self, TubeError> {
        if socket_type(&socket) != Ok(SocketType::SEQPACKET) {
            return Err(TubeError::NotATube);
        }
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(TubeError::call("fcntl"))?;
        Ok(Self::of(socket))
    }

    /// The socket, to be passed on.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Takes no descriptors but eventfds, and no more than so many with a message. What else comes stays open until the tube is dropped: to
    /// close it can take for ever, and to keep it would keep the other side's socket open, if it is that.
    pub(crate) fn for_eventfds(self, max: usize) -> Self {
        self.inbox().for_eventfds(max);
        self
    }

    fn of(socket: OwnedFd) -> Self {
        let (outbox, inbox) = (Mutex::new(Outbox::new()), Mutex::new(Inbox::new()));
        Self { socket, outbox, inbox }
    }

    /// How long a send waits for room, at most; `None` waits for ever, as a new tube does.
    ///
    /// # Errors
    ///
    /// [`TubeError::Call`], for a time of zero or one that the kernel cannot hold.
    pub fn set_send_timeout(&self, timeout: Option<Duration>) -> Result<(), TubeError> {
        set_socket_timeout(&self.socket, Timeout::Send, timeout)
            .map_err(TubeError::call("setsockopt"))
    }

    /// How long a receive waits for a packet, at most; `None` waits for ever, as a new tube does.
    ///
    /// # Errors
    ///
    /// [`TubeError::Call`], for a time of zero or one that the kernel cannot hold.
    pub fn set_recv_timeout(&self, timeout: Option<Duration>) -> Result<(), TubeError> {
        set_socket_timeout(&self.socket, Timeout::Recv, timeout)
            .map_err(TubeError::call("setsockopt"))
    }

    /// Ends the connection for both sides: what was sent before is still received.
    pub fn shut_down(&self) {
        // It fails if it has ended.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// [`TubeError::Disconnected`], [`TubeError::TimedOut`]; [`TubeError::TooLong`] and [`TubeError::Call`], and nothing was sent;
    /// [`TubeError::Broken`] if it was sent in part, and every time after that.
    pub fn send<T: Serialize + ?Sized>(&self, message: &T) -> Result<(), TubeError> {
        self.send_with(message, &[])
    }

    /// Sends a message, with descriptors.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send); [`TubeError::TooManyDescriptors`], and nothing was sent.
    pub fn send_with<T: Serialize + ?Sized>(
        &self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), TubeError> {
        self.outbox().send(&self.socket, message, descriptors, Wait::Yes)
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send); [`TubeError::TimedOut`] if there is no room.
    pub fn try_send<T: Serialize + ?Sized>(&self, message: &T) -> Result<(), TubeError> {
        self.outbox().send(&self.socket, message, &[], Wait::No)
    }

    /// Receives a message. Descriptors that come with it are closed.
    ///
    /// # Errors
    ///
    /// [`TubeError::Disconnected`] when the other side has gone and all that it sent was received; [`TubeError::TimedOut`]; and what
    /// is wrong with what it sent.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<T, TubeError> {
        self.recv_with().map(|(message, _)| message)
    }

    /// Receives a message, and the descriptors that come with it.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv).
    pub fn recv_with<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), TubeError> {
        // Where it waits, there is a message or a reason.
        let whole = self.inbox().recv(&self.socket, Wait::Yes)?.ok_or(TubeError::TimedOut)?;
        decode(whole)
    }

    /// Receives a message if a whole one has come. One that has come in part is kept for the next time.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), except that there is nothing to wait for.
    pub fn try_recv_with<T: DeserializeOwned>(
        &self,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, TubeError> {
        self.inbox().recv(&self.socket, Wait::No)?.map(decode).transpose()
    }

    // Both halves are whole after every step, or say that they are not.
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn decode<T: DeserializeOwned>(
    (bytes, descriptors): Whole,
) -> Result<(T, Vec<OwnedFd>), TubeError> {
    let (message, rest) = postcard::take_from_bytes(&bytes).map_err(TubeError::Undecodable)?;
    if !rest.is_empty() {
        return Err(TubeError::Malformed("bytes after the message"));
    }
    Ok((message, descriptors))
}

impl AsFd for Tube {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Tube {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl fmt::Debug for Tube {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tube").field("socket", &self.socket).finish_non_exhaustive()
    }
}
