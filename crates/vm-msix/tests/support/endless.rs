//! Input that never ends.

use std::io::{self, Read};

/// A head, then the same element again and again; and how much of it was read.
pub(crate) struct Endless {
    now: io::Cursor<Vec<u8>>,
    element: Vec<u8>,
    pub(crate) read: usize,
}

impl Endless {
    pub(crate) fn new(head: impl Into<Vec<u8>>, element: impl Into<Vec<u8>>) -> Self {
        Self { now: io::Cursor::new(head.into()), element: element.into(), read: 0 }
    }
}

impl Read for Endless {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut read = self.now.read(buf)?;
        if read == 0 {
            self.now = io::Cursor::new(self.element.clone());
            read = self.now.read(buf)?;
        }
        self.read += read;
        Ok(read)
    }
}
