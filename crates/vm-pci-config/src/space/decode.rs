//! Where the guest has put the BARs, and which of them an address hits.

use alloc::vec::Vec;

use super::PciConfigSpace;
use crate::bar::{AddressSpace, BarAddress, BarChange, BarHit, BarIndex};

/// The six BARs, as far as the function answers at them.
pub(super) type Decoded = [Option<BarAddress>; 6];

impl PciConfigSpace {
    /// Where a BAR is decoded now: nowhere while Command disables its address space.
    ///
    /// The register's value is taken as it is, like in hardware: 0 is an address, and so is what a guest
    /// leaves there while it sizes with decoding enabled. The upper half of a 64-bit BAR is no BAR.
    pub fn bar(&self, index: BarIndex) -> Option<BarAddress> {
        let address = self.programmed_bar(index)?;
        let enabled = match address.space() {
            AddressSpace::Memory => self.memory_enabled(),
            AddressSpace::Io => self.io_enabled(),
        };
        enabled.then_some(address)
    }

    /// Where a BAR would be decoded, whatever Command says, for a VMM that shows or saves the layout.
    pub fn programmed_bar(&self, index: BarIndex) -> Option<BarAddress> {
        self.described(index).map(|bar| bar.place(index, &self.registers))
    }

    /// The memory BAR that takes an access of `len` bytes at `address`, if it lies wholly inside of one.
    ///
    /// If a guest lets BARs overlap, which the specification forbids, the lowest index takes it.
    pub fn decode_memory(&self, address: u64, len: usize) -> Option<BarHit> {
        self.hit(AddressSpace::Memory, address, len)
    }

    /// The I/O BAR that takes an access of `len` bytes at `port`, if it lies wholly inside of one.
    pub fn decode_io(&self, port: u32, len: usize) -> Option<BarHit> {
        self.hit(AddressSpace::Io, u64::from(port), len)
    }

    pub(super) fn decoded(&self) -> Decoded {
        BarIndex::ALL.map(|index| self.bar(index))
    }

    fn hit(&self, space: AddressSpace, address: u64, len: usize) -> Option<BarHit> {
        BarIndex::ALL.into_iter().find_map(|index| {
            let bar = self.bar(index).filter(|bar| bar.space() == space)?;
            Some(BarHit { index, offset: bar.offset_of(address, len)? })
        })
    }
}

/// The BARs that are decoded otherwise than before.
pub(super) fn changes(before: Decoded, after: Decoded) -> Vec<BarChange> {
    BarIndex::ALL
        .into_iter()
        .zip(before.into_iter().zip(after))
        .filter(|(_, (before, after))| before != after)
        .map(|(index, (before, after))| BarChange { index, before, after })
        .collect()
}
