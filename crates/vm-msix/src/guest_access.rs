//! The registers, as the guest reads and writes them (C8).

use crate::access::{Direction, IllegalAccess, Place, Region, answer};
use crate::backend::MsiBackend;
use crate::config::MsixConfig;
use crate::control::CapabilityWrite;
use crate::observer::MsixObserver;
use crate::sync::Retry;
use crate::table::Written;

/// What a register write changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsixStatus {
    /// MSI-X Enable or Function Mask.
    Changed,
    /// The table entry of this vector.
    EntryChanged(usize),
    /// Nothing.
    NothingToDo,
}

/// What the guest reads and writes. Every access has a defined result, and none can panic (C8, C10).
impl<B: MsiBackend, O: MsixObserver> MsixConfig<B, O> {
    /// Puts the two live bits over the first DWORD of the capability as stored, and leaves the others as
    /// they are: configuration space holds them.
    pub fn read_msix_capability(&self, data: u32) -> u32 {
        self.registers.control.overlay(data)
    }

    /// A write of 1 to 4 bytes at an offset of the capability, of which only MSI-X Enable and Function Mask
    /// take notice. (3 are what is left of a DWORD that a configuration space has cut at a register's end.)
    pub fn write_msix_capability(&mut self, offset: u64, data: &[u8]) -> MsixStatus {
        match CapabilityWrite::of(offset, data) {
            Some(CapabilityWrite::Control(control)) => {
                let before = core::mem::replace(&mut self.registers.control, control);
                self.sync_all(Retry::Exhausted);
                if control == before { MsixStatus::NothingToDo } else { MsixStatus::Changed }
            }
            Some(CapabilityWrite::ReadOnly) => MsixStatus::NothingToDo,
            None => {
                self.illegal(Region::Capability, Direction::Write, offset, data.len());
                MsixStatus::NothingToDo
            }
        }
    }

    /// Reads 4 or 8 aligned bytes of the MSI-X Table; anything else reads as zeros.
    pub fn read_msix_table(&self, offset: u64, data: &mut [u8]) {
        let value = self.registers.table.read(offset, data.len());
        if !answer(data, value) {
            self.illegal(Region::Table, Direction::Read, offset, data.len());
        }
    }

    /// Writes 4 or 8 aligned bytes of the MSI-X Table, as one step; anything else does nothing.
    pub fn write_msix_table(&mut self, offset: u64, data: &[u8]) -> MsixStatus {
        match self.registers.table.write(offset, data) {
            Some(Written::Changed(vector)) => {
                self.sync_one(vector);
                MsixStatus::EntryChanged(vector.as_usize())
            }
            Some(Written::Same(vector)) => {
                self.sync_one(vector);
                MsixStatus::NothingToDo
            }
            None => {
                self.illegal(Region::Table, Direction::Write, offset, data.len());
                MsixStatus::NothingToDo
            }
        }
    }

    /// Reads 4 or 8 aligned bytes of the PBA; anything else reads as zeros.
    pub fn read_pba_entries(&self, offset: u64, data: &mut [u8]) {
        let value = Place::of(offset, data.len()).and_then(|place| self.pending_bits(place));
        if !answer(data, value) {
            self.illegal(Region::Pba, Direction::Read, offset, data.len());
        }
    }

    /// Does nothing: Pending Bits are the function's to write (7.7.2.10). An observer is told.
    pub fn write_pba_entries(&mut self, offset: u64, data: &[u8]) {
        self.illegal(Region::Pba, Direction::Write, offset, data.len());
    }

    fn pending_bits(&self, place: Place) -> Option<u64> {
        let (qword, upper) = match place {
            Place::Dword(dword) => (dword / 2, Some(dword % 2 == 1)),
            Place::Qword(qword) => (qword, None),
        };
        if qword >= u64::from(self.identity.vectors.pba_qwords()) {
            return None;
        }
        let qword = usize::try_from(qword).ok()?;
        let bits = self.backend().latched(qword) & self.identity.vectors.pending_mask(qword);
        Some(match upper {
            None => bits,
            Some(false) => bits & u64::from(u32::MAX),
            Some(true) => bits >> 32,
        })
    }

    fn illegal(&self, region: Region, direction: Direction, offset: u64, len: usize) {
        self.observer().illegal_access(IllegalAccess { region, direction, offset, len });
    }
}
