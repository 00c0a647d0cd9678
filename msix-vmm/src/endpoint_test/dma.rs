//! What the device does to guest memory, a piece at a time.

use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryMmap, Permissions};

/// Bytes that are moved at once.
const PIECE: u32 = 64 << 10;

/// Some of the guest's memory, all of which exists.
#[derive(Clone, Copy)]
pub(super) struct Extent<'a> {
    memory: &'a GuestMemoryMmap,
    start: u64,
    size: u32,
}

impl<'a> Extent<'a> {
    /// So many bytes from an address, if the guest has memory there.
    pub(super) fn new(memory: &'a GuestMemoryMmap, start: u64, size: u32) -> Option<Self> {
        let exists = memory.check_range(GuestAddress(start), size as usize, Permissions::ReadWrite);
        exists.then_some(Self { memory, start, size })
    }

    /// Its checksum.
    pub(super) fn checksum(self) -> Option<u32> {
        self.pieces(|hasher, memory, at, piece| {
            memory.read_slice(piece, at).ok()?;
            hasher.update(piece);
            Some(())
        })
    }

    /// Fills it with what nobody foresees; gives the checksum.
    pub(super) fn fill(self) -> Option<u32> {
        self.pieces(|hasher, memory, at, piece| {
            fastrand::fill(piece);
            hasher.update(piece);
            memory.write_slice(piece, at).ok()
        })
    }

    /// Fills it with as many bytes from elsewhere.
    pub(super) fn copy_from(self, from: Extent<'_>) -> Option<u32> {
        let origin = self.start;
        self.pieces(|hasher, memory, at, piece| {
            let source = GuestAddress(from.start + (at.0 - origin));
            from.memory.read_slice(piece, source).ok()?;
            hasher.update(piece);
            memory.write_slice(piece, at).ok()
        })
    }

    fn pieces(
        self,
        mut work: impl FnMut(
            &mut crc32fast::Hasher,
            &GuestMemoryMmap,
            GuestAddress,
            &mut [u8],
        ) -> Option<()>,
    ) -> Option<u32> {
        let mut hasher = crc32fast::Hasher::new();
        let mut bytes = vec![0; self.size.min(PIECE) as usize];
        let mut done = 0;
        while done < self.size {
            let piece = &mut bytes[..(self.size - done).min(PIECE) as usize];
            let at = GuestAddress(self.start + u64::from(done));
            work(&mut hasher, self.memory, at, piece)?;
            done += piece.len() as u32;
        }
        // The driver's checksum is without the last inversion.
        Some(!hasher.finalize())
    }
}
