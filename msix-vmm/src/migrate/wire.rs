//! What goes between processes: messages and bytes, each with its length before it.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// More than a guest's memory and all else: what claims to be longer is no frame.
const MAX_FRAME: u64 = 64 << 20;

/// One end of a connection.
pub(super) struct Wire<R, W> {
    reader: R,
    writer: W,
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the other process cannot be reached: {0}")]
    Broken(#[from] io::Error),
    #[error("a frame of {bytes} bytes")]
    FrameTooLong { bytes: u64 },
    #[error("a message that nobody sends: {0}")]
    Malformed(#[from] postcard::Error),
}

impl<R: Read, W: Write> Wire<R, W> {
    pub(super) fn new(reader: R, writer: W) -> Self {
        Self { reader, writer }
    }

    pub(super) fn send<T: Serialize>(&mut self, message: &T) -> Result<(), WireError> {
        self.send_bytes(&postcard::to_stdvec(message)?)
    }

    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> Result<T, WireError> {
        Ok(postcard::from_bytes(&self.receive_bytes()?)?)
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.writer.write_all(&(bytes.len() as u64).to_le_bytes())?;
        self.writer.write_all(bytes)?;
        Ok(self.writer.flush()?)
    }

    pub(super) fn receive_bytes(&mut self) -> Result<Vec<u8>, WireError> {
        let mut length = [0; 8];
        self.reader.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_FRAME {
            return Err(WireError::FrameTooLong { bytes: length });
        }
        let mut bytes = vec![0; length as usize];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_FRAME, Wire, WireError};

    fn sent(work: impl FnOnce(&mut Wire<&[u8], &mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        work(&mut Wire::new(&[], &mut bytes));
        bytes
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let bytes = sent(|wire| {
            wire.send(&("vectors", 2048_u16)).unwrap();
            wire.send_bytes(&[]).unwrap();
            wire.send_bytes(&[7; 4096]).unwrap();
        });
        let mut wire = Wire::new(&bytes[..], Vec::new());
        assert_eq!(wire.receive::<(String, u16)>().unwrap(), ("vectors".into(), 2048));
        assert!(wire.receive_bytes().unwrap().is_empty());
        assert_eq!(wire.receive_bytes().unwrap(), [7; 4096]);
        assert!(matches!(wire.receive_bytes(), Err(WireError::Broken(_))));
    }

    #[test]
    fn a_length_that_no_frame_has_is_refused_before_there_is_memory_for_it() {
        let bytes = (MAX_FRAME + 1).to_le_bytes();
        let received = Wire::new(&bytes[..], Vec::new()).receive_bytes();
        assert!(matches!(received, Err(WireError::FrameTooLong { bytes }) if bytes > MAX_FRAME));
    }
}
