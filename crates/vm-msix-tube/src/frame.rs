//! How a message is cut into packets: the first has its bytes, and as many descriptors as a packet takes; more
//! descriptors follow in packets of their own.

use std::os::fd::OwnedFd;

use crate::error::TubeError;
use crate::sys::DESCRIPTORS_PER_PACKET;

/// Bytes of a message, at most.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Descriptors with a message, at most: one for each vector of a function.
pub const MAX_DESCRIPTORS: usize = 2048;

/// What every packet begins with: its kind, and how many descriptors are still to come, those of the packet included.
pub(crate) const HEADER: usize = 3;
/// Bytes of a packet, at most.
pub(crate) const MAX_PACKET: usize = HEADER + MAX_MESSAGE;

/// Whether to wait for the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Yes,
    No,
}

/// A packet's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The bytes of a message, and its first descriptors.
    Message = 1,
    /// More descriptors of the last message.
    Descriptors = 2,
}

/// The header of the packet that begins a message with so many descriptors.
pub(crate) fn message_header(descriptors: usize) -> Result<[u8; HEADER], TubeError> {
    let too_many = || TubeError::TooManyDescriptors { descriptors, max: MAX_DESCRIPTORS };
    let count = u16::try_from(descriptors).map_err(|_| too_many())?;
    if descriptors > MAX_DESCRIPTORS { Err(too_many()) } else { Ok(header(Kind::Message, count)) }
}

/// The header of a packet that goes on with a message of which so many descriptors are left.
pub(crate) fn descriptors_header(left: usize) -> [u8; HEADER] {
    // No more than a message has.
    header(Kind::Descriptors, u16::try_from(left).unwrap_or(u16::MAX))
}

fn header(kind: Kind, descriptors: u16) -> [u8; HEADER] {
    let [low, high] = descriptors.to_le_bytes();
    [kind as u8, low, high]
}

/// A message that has come in part.
#[derive(Debug)]
pub(crate) struct Assembly {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    wanted: usize,
}

/// A message, whole.
pub(crate) type Whole = (Vec<u8>, Vec<OwnedFd>);

impl Assembly {
    /// Takes the first packet of a message, or the next.
    ///
    /// # Errors
    ///
    /// No tube sends such a packet there.
    pub(crate) fn take(
        so_far: Option<Self>,
        packet: &[u8],
        descriptors: Vec<OwnedFd>,
        max_descriptors: usize,
    ) -> Result<Self, TubeError> {
        let Some((&[kind, low, high], bytes)) = packet.split_first_chunk() else {
            return Err(TubeError::Malformed("a packet without a header"));
        };
        let to_come = usize::from(u16::from_le_bytes([low, high]));
        if descriptors.len() != to_come.min(DESCRIPTORS_PER_PACKET) {
            return Err(TubeError::Malformed("a packet with other descriptors than it says"));
        }
        match so_far {
            None if kind == Kind::Message as u8 && to_come <= max_descriptors => {
                Ok(Self { bytes: bytes.to_vec(), descriptors, wanted: to_come })
            }
            Some(mut assembly)
                if kind == Kind::Descriptors as u8
                    && bytes.is_empty()
                    && to_come == assembly.missing() =>
            {
                assembly.descriptors.extend(descriptors);
                Ok(assembly)
            }
            _ => Err(TubeError::Malformed("a packet out of order")),
        }
    }

    /// The message, if nothing is missing.
    pub(crate) fn whole(self) -> Result<Whole, Self> {
        if self.missing() == 0 { Ok((self.bytes, self.descriptors)) } else { Err(self) }
    }

    fn missing(&self) -> usize {
        self.wanted - self.descriptors.len()
    }
}
