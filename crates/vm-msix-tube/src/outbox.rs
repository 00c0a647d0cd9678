//! The sending half of a tube: messages into packets.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::Serialize;

use crate::error::TubeError;
use crate::frame::{MAX_MESSAGE, Wait, descriptors_header, message_header};
use crate::sys::{DESCRIPTORS_PER_PACKET, sendmsg};

/// The sending half.
pub(crate) struct Outbox {
    bytes: Box<[u8]>,
    /// A message was sent in part.
    is_broken: bool,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; MAX_MESSAGE].into_boxed_slice(), is_broken: false }
    }

    pub(crate) fn send<T: Serialize + ?Sized>(
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
