//! virtio-blk: a file as the guest's disk (virtio 1.2, 5.2).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use virtio_queue::{Reader, Writer};
use vm_pci_config::ClassCode;

use super::device::VirtioDevice;
use super::registers::MAX_QUEUE_SIZE;
use super::ring::{Broken, Chain, Ring};

/// Bytes of a sector, whatever the file's file system has.
const SECTOR: u64 = 512;
/// Bytes that are copied at once.
const PIECE: usize = 64 << 10;

/// Whether the guest may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// The block device.
pub(crate) struct Block {
    file: File,
    access: Access,
    /// Bytes, in whole sectors.
    capacity: u64,
    id: [u8; VIRTIO_BLK_ID_BYTES as usize],
    queues: u16,
    config: Vec<u8>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    Unsupported,
}

impl Block {
    /// A disk of this file's size, which a driver knows by `id`, with so many queues, 1 to 64.
    pub(crate) fn new(file: File, access: Access, id: &str, queues: u16) -> io::Result<Self> {
        // A block device has a size too, but not in its metadata.
        let sectors = (&file).seek(SeekFrom::End(0))? / SECTOR;
        let queues = queues.clamp(1, 64);
        let mut bytes = [0; VIRTIO_BLK_ID_BYTES as usize];
        for (to, from) in bytes.iter_mut().zip(id.bytes()) {
            *to = from;
        }
        let config = config(sectors, queues);
        Ok(Self { file, access, capacity: sectors * SECTOR, id: bytes, queues, config })
    }

    /// Does a request; tells how many bytes were written to its buffers.
    fn request(&self, chain: Chain<'_>, ring: &Ring<'_>) -> Result<u32, Broken> {
        let mut input = chain.clone().reader(ring.memory())?;
        let mut output = chain.writer(ring.memory())?;
        let mut header = [0; 16];
        input.read_exact(&mut header)?;
        // The status is the last byte that may be written.
        let last = output.available_bytes().checked_sub(1).ok_or(Broken::Incomplete)?;
        let mut status = output.split_at(last)?;
        let outcome = match u32::from_le_bytes(*part(&header, 0)) {
            VIRTIO_BLK_T_IN => self.read(u64::from_le_bytes(*part(&header, 8)), &mut output),
            VIRTIO_BLK_T_OUT => self.write(u64::from_le_bytes(*part(&header, 8)), &mut input),
            VIRTIO_BLK_T_FLUSH => self.file.sync_data().into(),
            VIRTIO_BLK_T_GET_ID => self.identify(&mut output),
            _ => Outcome::Unsupported,
        };
        status.write_all(&[outcome.status()])?;
        let written = output.bytes_written() + status.bytes_written();
        Ok(u32::try_from(written).unwrap_or(u32::MAX))
    }

    fn read(&self, sector: u64, output: &mut Writer<'_>) -> Outcome {
        let Some((mut at, mut left)) = self.extent(sector, output.available_bytes()) else {
            return Outcome::Failed;
        };
        let mut piece = vec![0; left.min(PIECE)];
        while left > 0 {
            let piece = &mut piece[..left.min(PIECE)];
            let done = self.file.read_exact_at(piece, at).and_then(|()| output.write_all(piece));
            if done.is_err() {
                return Outcome::Failed;
            }
            at += piece.len() as u64;
            left -= piece.len();
        }
        Outcome::Done
    }

    fn write(&self, sector: u64, input: &mut Reader<'_>) -> Outcome {
        let Some((mut at, mut left)) = self.extent(sector, input.available_bytes()) else {
            return Outcome::Failed;
        };
        if self.access == Access::ReadOnly {
            return Outcome::Failed;
        }
        let mut piece = vec![0; left.min(PIECE)];
        while left > 0 {
            let piece = &mut piece[..left.min(PIECE)];
            let done = input.read_exact(piece).and_then(|()| self.file.write_all_at(piece, at));
            if done.is_err() {
                return Outcome::Failed;
            }
            at += piece.len() as u64;
            left -= piece.len();
        }
        Outcome::Done
    }

    fn identify(&self, output: &mut Writer<'_>) -> Outcome {
        let length = output.available_bytes().min(self.id.len());
        output.write_all(&self.id[..length]).into()
    }

    /// The place of whole sectors in the file: offset and bytes, if it has them.
    fn extent(&self, sector: u64, length: usize) -> Option<(u64, usize)> {
        let start = sector.checked_mul(SECTOR)?;
        let bytes = u64::try_from(length).ok().filter(|bytes| bytes.is_multiple_of(SECTOR))?;
        (start.checked_add(bytes)? <= self.capacity).then_some((start, length))
    }
}

impl VirtioDevice for Block {
    type State = ();

    fn id(&self) -> u16 {
        VIRTIO_ID_BLOCK as u16
    }

    fn class(&self) -> ClassCode {
        ClassCode { class: 0x01, subclass: 0x80, prog_if: 0 }
    }

    fn queues(&self) -> usize {
        self.queues.into()
    }

    fn features(&self) -> u64 {
        let read_only = if self.access == Access::ReadOnly { 1 << VIRTIO_BLK_F_RO } else { 0 };
        1 << VIRTIO_BLK_F_FLUSH | 1 << VIRTIO_BLK_F_MQ | 1 << VIRTIO_BLK_F_SEG_MAX | read_only
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn serve(&self, _queue: usize, ring: &mut Ring<'_>) -> Result<(), Broken> {
        while let Some(chain) = ring.pop()? {
            let head = chain.head_index();
            let written = self.request(chain, ring)?;
            ring.push(head, written)?;
        }
        Ok(())
    }

    fn reset(&self) {}

    fn save(&self) {}

    fn restore(&self, (): ()) {}
}

impl From<io::Result<()>> for Outcome {
    fn from(result: io::Result<()>) -> Self {
        if result.is_ok() { Self::Done } else { Self::Failed }
    }
}

impl Outcome {
    fn status(self) -> u8 {
        let status = match self {
            Self::Done => VIRTIO_BLK_S_OK,
            Self::Failed => VIRTIO_BLK_S_IOERR,
            Self::Unsupported => VIRTIO_BLK_S_UNSUPP,
        };
        status as u8
    }
}

/// The configuration structure, up to the number of queues (5.2.4).
fn config(sectors: u64, queues: u16) -> Vec<u8> {
    // A request has a header and a status too.
    let seg_max = u32::from(MAX_QUEUE_SIZE) - 2;
    let mut config = vec![0; 36];
    config[..8].copy_from_slice(&sectors.to_le_bytes());
    config[12..16].copy_from_slice(&seg_max.to_le_bytes());
    config[34..].copy_from_slice(&queues.to_le_bytes());
    config
}

fn part<const N: usize>(header: &[u8; 16], at: usize) -> &[u8; N] {
    header[at..].first_chunk().expect("inside of the header")
}
