//! The server of QEMU's `ivshmem-doorbell` devices: it gives them eventfds, through which we signal their vectors and
//! hear their doorbells.
//!
//! A device connects to a stream socket and is told, in messages of 8 bytes little-endian: the version 0, its own
//! number, -1 with the shared memory, and then numbers of peers, each message with the eventfd of that peer's next
//! vector. Its own number comes with the eventfds that signal its own vectors.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{read, write};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::board::{BELLS, PEER};
use super::error::QemuError;

const VERSION: i64 = 0;
/// Says that shared memory comes with it.
const SHARED_MEMORY: i64 = -1;
/// The number of the device that a connection belongs to.
const OWN: i64 = 0;
/// Bytes of shared memory: nobody uses it.
const SHARED_MEMORY_SIZE: u64 = 4096;

/// An eventfd that QEMU has too.
#[derive(Debug)]
pub(super) struct Event(OwnedFd);

impl Event {
    fn new() -> Result<Self, QemuError> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        eventfd(0, flags).map(Self).map_err(QemuError::call("eventfd"))
    }

    /// Adds one to its counter.
    pub(super) fn ring(&self) -> Result<(), QemuError> {
        write(&self.0, &1_u64.to_ne_bytes()).map(drop).map_err(QemuError::call("write"))
    }

    /// Whether its counter is above zero.
    pub(super) fn is_ringing(&self) -> Result<bool, QemuError> {
        Ok(!ringing(std::slice::from_ref(self))?.is_empty())
    }

    /// Takes its counter.
    fn take(&self) -> Result<u64, QemuError> {
        let mut counter = [0; 8];
        read(&self.0, &mut counter).map_err(QemuError::call("read"))?;
        Ok(u64::from_ne_bytes(counter))
    }
}

/// Those of them whose counter is above zero.
fn ringing(events: &[Event]) -> Result<Vec<usize>, QemuError> {
    let mut fds: Vec<_> = events.iter().map(|event| PollFd::new(&event.0, PollFlags::IN)).collect();
    poll(&mut fds, Some(&Timespec::default())).map_err(QemuError::call("poll"))?;
    let ringing = fds.iter().enumerate().filter(|(_, fd)| fd.revents().contains(PollFlags::IN));
    Ok(ringing.map(|(index, _)| index).collect())
}

/// A connection of a device to its server, and the eventfds of its own vectors.
#[derive(Debug)]
pub(super) struct Vectors {
    /// Kept open: the device takes its end for the server's.
    _socket: UnixStream,
    pub(super) events: Vec<Event>,
}

impl Vectors {
    /// Serves the device whose vectors we are going to signal.
    pub(super) fn serve(socket: UnixStream, vectors: u16) -> Result<Self, QemuError> {
        greet(&socket)?;
        let events: Result<Vec<_>, _> = (0..vectors).map(|_| Event::new()).collect();
        let events = events?;
        introduce(&socket, OWN, &events)?;
        Ok(Self { _socket: socket, events })
    }
}

/// The bells that a device rings when its doorbell register is written to.
#[derive(Debug)]
pub(super) struct Bells {
    /// The device's own, with an eventfd that it takes when it has heard of all the bells.
    pub(super) device: Vectors,
    bells: Vec<Event>,
}

impl Bells {
    /// Serves the device whose doorbell messages are sent to.
    pub(super) fn serve(socket: UnixStream) -> Result<Self, QemuError> {
        greet(&socket)?;
        let bells: Result<Vec<_>, _> = (0..BELLS).map(|_| Event::new()).collect();
        let bells = bells?;
        introduce(&socket, PEER.into(), &bells)?;
        let own = vec![Event::new()?];
        introduce(&socket, OWN, &own)?;
        Ok(Self { device: Vectors { _socket: socket, events: own }, bells })
    }

    /// How often each bell rang since the last time.
    pub(super) fn take(&self) -> Result<impl Iterator<Item = (u8, u64)>, QemuError> {
        let take = |index: usize| Some((u8::try_from(index).ok()?, self.bells.get(index)?.take()));
        let rung = ringing(&self.bells)?.into_iter().filter_map(take);
        let rung: Result<Vec<_>, QemuError> =
            rung.map(|(bell, count)| Ok((bell, count?))).collect();
        Ok(rung?.into_iter())
    }
}

fn greet(socket: &UnixStream) -> Result<(), QemuError> {
    let memory = memfd_create("ivshmem", MemfdFlags::CLOEXEC).map_err(QemuError::call("memfd"))?;
    ftruncate(&memory, SHARED_MEMORY_SIZE).map_err(QemuError::call("ftruncate"))?;
    tell(socket, VERSION, None)?;
    tell(socket, OWN, None)?;
    tell(socket, SHARED_MEMORY, Some(memory.as_fd()))
}

fn introduce(socket: &UnixStream, peer: i64, vectors: &[Event]) -> Result<(), QemuError> {
    vectors.iter().try_for_each(|event| tell(socket, peer, Some(event.0.as_fd())))
}

fn tell(socket: &UnixStream, number: i64, fd: Option<BorrowedFd<'_>>) -> Result<(), QemuError> {
    let fds: Vec<_> = fd.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        // There is room for one.
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let bytes = number.to_le_bytes();
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
        .map(drop)
        .map_err(QemuError::call("sendmsg"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_device_is_told_in_the_order_of_the_protocol() {
        let (ours, mut device) = UnixStream::pair().unwrap();
        let vectors = Vectors::serve(ours, 3).unwrap();
        let mut told = [0; 6 * 8];
        // Without room for descriptors, a read gets none and stops where there is one.
        let mut at = 0;
        while at < told.len() {
            at += device.read(&mut told[at..]).unwrap();
        }
        let numbers: Vec<_> =
            told.chunks(8).map(|number| i64::from_le_bytes(number.try_into().unwrap())).collect();
        assert_eq!(numbers, [VERSION, OWN, SHARED_MEMORY, OWN, OWN, OWN]);
        assert_eq!(vectors.events.len(), 3);
    }

    #[test]
    fn an_event_rings_until_it_is_taken() {
        let event = Event::new().unwrap();
        assert!(!event.is_ringing().unwrap());
        event.ring().unwrap();
        event.ring().unwrap();
        assert!(event.is_ringing().unwrap());
        assert_eq!(event.take().unwrap(), 2);
        assert!(!event.is_ringing().unwrap());
    }
}
