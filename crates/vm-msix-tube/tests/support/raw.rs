//! One end of a tube's socket in the hands of somebody who keeps to no rule.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown,
    recvmsg, sendmsg, shutdown,
};

use super::wire::{Answer, Ask, Reply, Request};

/// The socket.
pub(crate) struct Raw {
    pub(crate) socket: OwnedFd,
    next: u64,
}

impl Raw {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, next: 0 }
    }

    /// Sends a packet as it is, and waits for room.
    pub(crate) fn packet(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        self.send(bytes, descriptors, SendFlags::NOSIGNAL)
    }

    /// Sends a packet as it is, if there is room.
    pub(crate) fn try_packet(&self, bytes: &[u8]) -> Result<(), Errno> {
        self.send(bytes, &[], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn send(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags).map(drop)
    }

    /// The next packet; `None` at the end. Its descriptors are closed.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut packet = vec![0; 1 << 17];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(253))];
        loop {
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut packet)];
            match recvmsg(&self.socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) if received.bytes == 0 => return None,
                Ok(received) => {
                    packet.truncate(received.bytes);
                    return Some(packet);
                }
                // What was sent before is still there.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(errno) => panic!("recvmsg: {errno}"),
            }
        }
    }

    /// The next answer; `None` at the end.
    pub(crate) fn answer(&self) -> Option<Reply> {
        let packet = self.receive()?;
        assert_eq!(packet[..3], [1, 0, 0], "an answer brings no descriptors");
        Some(postcard::from_bytes(&packet[3..]).unwrap())
    }

    /// What is asked next, as a frame.
    pub(crate) fn frame(&mut self, ask: Ask) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        frame(&Request { number, ask }, 0)
    }

    /// Asks, with descriptors, fewer than a packet takes.
    pub(crate) fn post(&mut self, ask: Ask, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut bytes = self.frame(ask);
        bytes[1..3].copy_from_slice(&(descriptors.len() as u16).to_le_bytes());
        self.packet(&bytes, descriptors)
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, ask: Ask, descriptors: &[BorrowedFd<'_>]) -> Option<Answer> {
        self.post(ask, descriptors).ok()?;
        self.answer().map(|reply| reply.answer)
    }

    /// Has nothing more to say.
    pub(crate) fn finish(&self) {
        shutdown(&self.socket, Shutdown::Write).unwrap();
    }
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A request's packet, which says that so many descriptors come.
pub(crate) fn frame(request: &Request, descriptors: u16) -> Vec<u8> {
    let [low, high] = descriptors.to_le_bytes();
    [vec![1, low, high], postcard::to_stdvec(request).unwrap()].concat()
}

/// An answer's packet.
pub(crate) fn reply(number: u64, answer: Answer) -> Vec<u8> {
    [vec![1, 0, 0], postcard::to_stdvec(&Reply { number, answer }).unwrap()].concat()
}
