//! QEMU's qtest protocol: lines over a socket, each a thing that the machine's CPU or clock would do.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::error::QemuError;
use super::op::Width;

/// How long QEMU may take to answer before it is taken for hanging.
pub(super) const HANG: Duration = Duration::from_secs(60);

/// A connection to a machine that stands still but for what it is told here.
///
/// Commands are queued and sent together; QEMU handles them one by one, on the thread that handles everything else of
/// its devices too.
#[derive(Debug)]
pub(super) struct Qtest {
    input: BufReader<UnixStream>,
    queued: String,
    commands: usize,
}

impl Qtest {
    pub(super) fn new(socket: UnixStream) -> Result<Self, QemuError> {
        socket.set_read_timeout(Some(HANG)).map_err(QemuError::Connection)?;
        socket.set_write_timeout(Some(HANG)).map_err(QemuError::Connection)?;
        Ok(Self { input: BufReader::new(socket), queued: String::new(), commands: 0 })
    }

    /// Queues a read from memory.
    pub(super) fn read(&mut self, address: u64, width: Width) {
        self.queue(format_args!("read{} {address:#x}", suffix(width)));
    }

    /// Queues a write to memory.
    pub(super) fn write(&mut self, address: u64, width: Width, value: u64) {
        self.queue(format_args!("write{} {address:#x} {value:#x}", suffix(width)));
    }

    /// Queues a read of many bytes.
    pub(super) fn read_bytes(&mut self, address: u64, len: u64) {
        self.queue(format_args!("read {address:#x} {len:#x}"));
    }

    /// Queues filling memory with a byte.
    pub(super) fn fill(&mut self, address: u64, len: u64, byte: u8) {
        self.queue(format_args!("memset {address:#x} {len:#x} {byte:#x}"));
    }

    /// Queues a write of 4 bytes to an I/O port.
    pub(super) fn out(&mut self, port: u16, value: u32) {
        self.queue(format_args!("outl {port:#x} {value:#x}"));
    }

    /// Sends what is queued, and returns the answers in the same order.
    pub(super) fn answers(&mut self) -> Result<Answers, QemuError> {
        let socket = self.input.get_mut();
        socket.write_all(self.queued.as_bytes()).map_err(QemuError::Connection)?;
        self.queued.clear();
        let commands = std::mem::take(&mut self.commands);
        let lines: Result<Vec<_>, _> = (0..commands).map(|_| self.line()).collect();
        lines.map(|lines| Answers(lines.into_iter()))
    }

    /// Sends one read, with whatever is queued before it, and returns its answer.
    pub(super) fn ask(&mut self, address: u64, width: Width) -> Result<u64, QemuError> {
        self.read(address, width);
        let skipped = self.commands - 1;
        let mut answers = self.answers()?;
        answers.skip(skipped)?;
        answers.number()
    }

    fn queue(&mut self, command: fmt::Arguments<'_>) {
        use fmt::Write;
        // Writing to a string cannot fail.
        let _ = writeln!(self.queued, "{command}");
        self.commands += 1;
    }

    fn line(&mut self) -> Result<String, QemuError> {
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => Err(QemuError::Ended),
            Ok(_) => Ok(line),
            Err(error) => Err(QemuError::Connection(error)),
        }
    }
}

/// Answers, in the order of their commands.
#[derive(Debug)]
pub(super) struct Answers(std::vec::IntoIter<String>);

impl Answers {
    /// Passes over answers that say only that it was done.
    pub(super) fn skip(&mut self, count: usize) -> Result<(), QemuError> {
        (0..count).try_for_each(|_| self.value().map(drop))
    }

    /// The number that was read.
    pub(super) fn number(&mut self) -> Result<u64, QemuError> {
        let line = self.value()?;
        let digits = line.trim_start_matches("0x");
        u64::from_str_radix(digits, 16).map_err(|_| QemuError::Answer(line.clone()))
    }

    /// The bytes that were read.
    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, QemuError> {
        let line = self.value()?;
        let bytes = line.trim_start_matches("0x").as_bytes().chunks(2).map(|pair| {
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
        });
        let bytes: Option<Vec<_>> = bytes.collect();
        bytes.ok_or_else(|| QemuError::Answer(line.clone()))
    }

    /// What stands after `OK`.
    fn value(&mut self) -> Result<String, QemuError> {
        let line = self.0.next().ok_or(QemuError::Ended)?;
        match line.trim_end().strip_prefix("OK") {
            Some(value) => Ok(value.trim_start().to_owned()),
            None => Err(QemuError::Answer(line)),
        }
    }
}

fn suffix(width: Width) -> char {
    match width {
        Width::Byte => 'b',
        Width::Word => 'w',
        Width::Dword => 'l',
        Width::Qword => 'q',
    }
}
