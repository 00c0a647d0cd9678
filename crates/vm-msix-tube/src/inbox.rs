//! The receiving half of a tube: packets into messages.

use std::io::IoSliceMut;
use std::mem::{MaybeUninit, take};
use std::os::fd::OwnedFd;

use rustix::cmsg_space;
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

use crate::error::TubeError;
use crate::frame::{Assembly, MAX_DESCRIPTORS, MAX_MESSAGE, MAX_PACKET, Wait, Whole};
use crate::sys::{DESCRIPTORS_PER_PACKET, recvmsg};

/// The bits of a mode that tell a file's type.
const FILE_TYPE: u16 = 0o170_000;

/// The receiving half.
pub(crate) struct Inbox {
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

impl Inbox {
    /// For any descriptors.
    pub(crate) fn new() -> Self {
        Self {
            packet: vec![0; MAX_PACKET].into_boxed_slice(),
            assembly: None,
            is_broken: false,
            max_descriptors: MAX_DESCRIPTORS,
            is_for_eventfds: false,
            unwanted: Vec::new(),
        }
    }

    /// For eventfds, so many with a message.
    pub(crate) fn for_eventfds(&mut self, max: usize) {
        self.max_descriptors = max.min(MAX_DESCRIPTORS);
        self.is_for_eventfds = true;
    }

    /// A message that is whole; `None` if there is none yet, and it is not waited for.
    pub(crate) fn recv(
        &mut self,
        socket: &OwnedFd,
        wait: Wait,
    ) -> Result<Option<Whole>, TubeError> {
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
