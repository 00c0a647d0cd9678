//! A socket for messages and descriptors.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::{MaybeUninit, take};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
    recvmsg, sendmsg, shutdown, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TubeError;
use crate::frame::{
    Assembly, DESCRIPTORS_PER_PACKET, MAX_DESCRIPTORS, MAX_MESSAGE, MAX_PACKET, Whole,
    descriptors_header, message_header,
};

/// The bits of a mode that tell a file's type.
const FILE_TYPE: u16 = 0o170_000;

/// One end of a connection between two processes, which carries messages of any serde type, and descriptors with them.
///
/// A message arrives whole or not at all, in order, once. Whatever the other side sends, a tube allocates no more than
/// [`MAX_MESSAGE`] bytes and takes no more than [`MAX_DESCRIPTORS`](crate::MAX_DESCRIPTORS) descriptors for a message; they are closed on
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

/// The sending half.
struct Outbox {
    bytes: Box<[u8]>,
    /// A message was sent in part.
    is_broken: bool,
}

/// The receiving half.
struct Inbox {
    packet: Box<[u8]>,
    /// What has come of a message in part.
    assembly: Option<Assembly>,
    is_broken: bool,
    /// Descriptors of one message, at most.
    max_descriptors: usize,
    /// Whether other descriptors than eventfds break it.
    is_for_eventfds: bool,
    /// Descriptors that were not wanted, and may not be closed here.
    unwanted: Vec<OwnedFd>,
}

/// Whether to wait for the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
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
        let mut inbox = self.inbox();
        inbox.max_descriptors = max.min(MAX_DESCRIPTORS);
        inbox.is_for_eventfds = true;
        drop(inbox);
        self
    }

    fn of(socket: OwnedFd) -> Self {
        let bytes = |count| vec![0; count].into_boxed_slice();
        Self {
            socket,
            outbox: Mutex::new(Outbox { bytes: bytes(MAX_MESSAGE), is_broken: false }),
            inbox: Mutex::new(Inbox {
                packet: bytes(MAX_PACKET),
                assembly: None,
                is_broken: false,
                max_descriptors: MAX_DESCRIPTORS,
                is_for_eventfds: false,
                unwanted: Vec::new(),
            }),
        }
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

impl Outbox {
    fn send<T: Serialize + ?Sized>(
        &mut self,
        socket: &OwnedFd,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
        wait: Wait,
    ) -> Result<(), TubeError> {
        if self.is_broken {
            return Err(TubeError::Broken);
        }
        let header = message_header(descriptors.len())?;
        let bytes = postcard::to_slice(message, &mut self.bytes).map_err(|error| match error {
            postcard::Error::SerializeBufferFull => TubeError::TooLong { max: MAX_MESSAGE },
            error => TubeError::Unencodable(error),
        })?;
        let (first, mut rest) = descriptors.split_at(descriptors.len().min(DESCRIPTORS_PER_PACKET));
        send_packet(socket, &[IoSlice::new(&header), IoSlice::new(bytes)], first, wait)?;
        while !rest.is_empty() {
            let header = descriptors_header(rest.len());
            let (next, last) = rest.split_at(rest.len().min(DESCRIPTORS_PER_PACKET));
            send_packet(socket, &[IoSlice::new(&header)], next, wait).map_err(|_| {
                self.is_broken = true;
                TubeError::Broken
            })?;
            rest = last;
        }
        Ok(())
    }
}

impl Inbox {
    /// A message that is whole; `None` if there is none yet, and it is not waited for.
    fn recv(&mut self, socket: &OwnedFd, wait: Wait) -> Result<Option<Whole>, TubeError> {
        if self.is_broken {
            return Err(TubeError::Broken);
        }
        loop {
            let Some(packet) = recv_packet(socket, &mut self.packet, wait)? else {
                return Ok(None);
            };
            let taken = self.take(packet).inspect_err(|error| self.is_broken = is_final(error))?;
            match taken.whole() {
                Ok(whole) => return Ok(Some(whole)),
                Err(assembly) => self.assembly = Some(assembly),
            }
        }
    }
}

impl Inbox {
    /// What a packet adds to what has come before it.
    fn take(&mut self, packet: Packet) -> Result<Assembly, TubeError> {
        let Packet { bytes, descriptors, flags } = packet;
        if self.is_for_eventfds && !descriptors.iter().all(is_anonymous) {
            self.unwanted = descriptors;
            return Err(TubeError::Malformed("a descriptor that is no eventfd"));
        }
        if flags.contains(ReturnFlags::TRUNC) {
            return Err(TubeError::TooLong { max: MAX_MESSAGE });
        }
        if flags.contains(ReturnFlags::CTRUNC) {
            return Err(TubeError::DescriptorsLost);
        }
        // The end of the connection. A tube's packets have a header.
        let Some(packet @ [_, ..]) = self.packet.get(..bytes) else {
            return Err(TubeError::Disconnected);
        };
        Assembly::take(take(&mut self.assembly), packet, descriptors, self.max_descriptors)
    }
}

/// Whether it has an inode of no type, as eventfds do, and no file, pipe or socket. A file system is not asked: it may be a process's.
fn is_anonymous(descriptor: &OwnedFd) -> bool {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(descriptor, c"", flags, StatxFlags::TYPE).is_ok_and(|stat| stat.stx_mode & FILE_TYPE == 0)
}

/// Whether nothing that is received after this has a meaning.
fn is_final(error: &TubeError) -> bool {
    !matches!(error, TubeError::Disconnected | TubeError::TimedOut | TubeError::Call { .. })
}

fn send_packet(
    socket: &OwnedFd,
    bytes: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
    wait: Wait,
) -> Result<(), TubeError> {
    let flags = match wait {
        Wait::Yes => SendFlags::NOSIGNAL,
        Wait::No => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    };
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_PER_PACKET))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        // There is room for as many as a packet takes.
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    loop {
        match sendmsg(socket, bytes, &mut control, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(TubeError::TimedOut),
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => {
                return Err(TubeError::Disconnected);
            }
            Err(errno) => return Err(TubeError::call("sendmsg")(errno)),
        }
    }
}

/// A packet, whose bytes are in the inbox.
struct Packet {
    bytes: usize,
    descriptors: Vec<OwnedFd>,
    flags: ReturnFlags,
}

/// The next packet; `None` if there is none and it is not waited for.
fn recv_packet(
    socket: &OwnedFd,
    packet: &mut [u8],
    wait: Wait,
) -> Result<Option<Packet>, TubeError> {
    let flags = match wait {
        Wait::Yes => RecvFlags::CMSG_CLOEXEC,
        Wait::No => RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    };
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_PER_PACKET))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(packet)], &mut control, flags) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if wait == Wait::No => return Ok(None),
            Err(Errno::AGAIN) => return Err(TubeError::TimedOut),
            // The other side has gone, and left messages unread. What it sent is still there, and then comes the end.
            Err(Errno::CONNRESET) => {}
            Err(errno) => return Err(TubeError::call("recvmsg")(errno)),
        }
    };
    // Whatever is not taken out of the buffer is closed with it.
    let descriptors = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
            _ => Vec::new(),
        })
        .collect();
    Ok(Some(Packet { bytes: received.bytes, descriptors, flags: received.flags }))
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
