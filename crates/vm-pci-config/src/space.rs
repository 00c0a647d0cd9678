//! The configuration space of one function.

mod access;
mod decode;

use alloc::boxed::Box;
use core::fmt;

use crate::bar::{Bar, BarIndex};
use crate::capability::{CapabilityId, PciCapability};
use crate::command::{Command, InterruptStatus, StatusError};
use crate::identity::Identity;
use crate::list::CapabilityList;
use crate::live::PciCapConfig;
use crate::outcome::WriteOutcome;
use crate::registers::Registers;
use crate::spec::{REG_COMMAND_STATUS, REG_ID, STATUS_INTERRUPT};
use crate::state::{self, PciConfigStateV1};
use crate::{CommandChange, PciConfigError};

/// The type 0 configuration space of one PCI function (PCIe Base 7.5.1).
///
/// It is built once from an [`Identity`], its BARs and its capabilities, and then answers every read and
/// write of the guest: any bytes at any offset have a result, and none fails. Offsets from 0x100 on, the
/// extended space, read as zero and ignore writes.
///
/// ```
/// use vm_pci_config::{Bar, BarIndex, Identity, PciConfigSpace, Prefetchable};
///
/// let mut space = PciConfigSpace::new(Identity::new(0x1af4, 0x1041))?;
/// space.add_bar(BarIndex::Bar0, Bar::memory32(0x1000, Prefetchable::No))?;
///
/// // A guest sizes BAR 0, places it and enables it.
/// let _ = space.write(0x10, &[0xff; 4]);
/// let mut sized = [0; 4];
/// space.read(0x10, &mut sized);
/// assert_eq!(u32::from_le_bytes(sized), 0xffff_f000);
///
/// let _ = space.write(0x10, &0xe000_0000_u32.to_le_bytes());
/// let outcome = space.write(0x04, &[0x02]);
/// assert_eq!(outcome.bars.len(), 1);
///
/// let hit = space.decode_memory(0xe000_0008, 4).expect("inside of BAR 0");
/// assert_eq!((hit.index, hit.offset), (BarIndex::Bar0, 8));
/// # Ok::<(), vm_pci_config::PciConfigError>(())
/// ```
pub struct PciConfigSpace {
    registers: Registers,
    bars: [Option<Bar>; 6],
    capabilities: CapabilityList,
}

impl PciConfigSpace {
    /// Makes the space of a function that has no BARs and no capabilities yet.
    pub fn new(identity: Identity) -> Result<Self, PciConfigError> {
        Ok(Self {
            registers: identity.registers()?,
            bars: [None; 6],
            capabilities: CapabilityList::default(),
        })
    }

    /// Adds a Base Address Register, so that a guest can find its size and place it (7.5.1.2.1).
    pub fn add_bar(&mut self, index: BarIndex, bar: Bar) -> Result<(), PciConfigError> {
        bar.check()?;
        self.expect_free(index)?;
        if bar.is_64_bit() {
            self.expect_free(index.next().ok_or(PciConfigError::Bar64InLastSlot)?)?;
        }
        bar.define(index, &mut self.registers);
        if let Some(slot) = self.bars.get_mut(index.slot()) {
            *slot = Some(bar);
        }
        Ok(())
    }

    /// Appends a capability that is only registers, and returns its offset (PCI Local Bus 3.0, 6.7).
    ///
    /// It gets the next free DWORD from 0x40 on. A guest walks the list in the order of these calls.
    pub fn add_capability(
        &mut self,
        capability: &dyn PciCapability,
    ) -> Result<u16, PciConfigError> {
        self.capabilities.add(&mut self.registers, capability, None)
    }

    /// Appends a capability whose reads and writes reach a device, and returns its offset.
    ///
    /// Bits in the config's read mask are read from it, all others as stored. A write to any byte of the
    /// capability reaches `write_reg`, once per register that it touches.
    pub fn add_capability_with_config(
        &mut self,
        capability: &dyn PciCapability,
        config: Box<dyn PciCapConfig>,
    ) -> Result<u16, PciConfigError> {
        self.capabilities.add(&mut self.registers, capability, Some(config))
    }

    /// The offset of the first capability with this ID, for a VMM that patches or relocates it.
    pub fn find_capability(&self, id: CapabilityId) -> Option<u16> {
        self.capabilities.find(id).map(|placed| placed.offset())
    }

    /// The Command register as it is now (7.5.1.1.3).
    pub fn command(&self) -> Command {
        let [low, high, _, _] = self.registers.load(REG_COMMAND_STATUS).to_le_bytes();
        Command::from_bits(u16::from_le_bytes([low, high]))
    }

    /// Bus Master Enable: whether the function may use memory and send MSI and MSI-X messages.
    pub fn bus_master(&self) -> bool {
        self.command().bus_master()
    }

    /// Memory Space Enable: whether memory BARs are decoded.
    pub fn memory_enabled(&self) -> bool {
        self.command().memory_enabled()
    }

    /// I/O Space Enable: whether I/O BARs are decoded.
    pub fn io_enabled(&self) -> bool {
        self.command().io_enabled()
    }

    /// Interrupt Disable: whether the function must keep INTx quiet.
    pub fn intx_disabled(&self) -> bool {
        self.command().intx_disabled()
    }

    /// Shows or hides Interrupt Status, by which a guest learns who asserted a shared INTx (7.5.1.1.4).
    pub fn set_interrupt_status(&mut self, status: InterruptStatus) {
        let bits = match status {
            InterruptStatus::Clear => 0,
            InterruptStatus::Pending => STATUS_INTERRUPT,
        };
        self.registers.store(REG_COMMAND_STATUS, bits, STATUS_INTERRUPT);
    }

    /// Reports an error in Status until the guest clears it (7.5.1.1.4).
    pub fn set_status_error(&mut self, error: StatusError) {
        self.registers.store(REG_COMMAND_STATUS, u32::MAX, error.mask());
    }

    /// Restores what the guest could change to its power-on value, and says what that changed (6.6.1).
    ///
    /// Command, BARs, Interrupt Line, Status and the writable bits of capabilities go back; BARs and
    /// capabilities stay where they are. What a device set through [`PciCapMapping`](crate::PciCapMapping) in
    /// bits that a guest cannot write stays, and live capabilities are not called: the device resets its own.
    pub fn reset(&mut self) -> WriteOutcome {
        let (command, bars) = (self.command(), self.decoded());
        self.registers.reset();
        self.set_interrupt_status(InterruptStatus::Clear);
        self.outcome_since(command, bars)
    }

    /// The state to save: what the guest wrote.
    ///
    /// What is behind live capabilities is not in it: the device saves its own.
    pub fn snapshot(&self) -> PciConfigStateV1 {
        PciConfigStateV1 {
            pci_id: self.registers.load(REG_ID),
            registers: state::rows(self.registers.save()),
        }
    }

    /// Takes a saved state over, and says what that changed, as a guest's write does.
    ///
    /// The space is one that was described like the one that was saved, new or in use. What a guest cannot write stays,
    /// and live capabilities are not called: the device restores its own.
    ///
    /// # Errors
    ///
    /// [`PciConfigError::StateOfAnother`] and [`PciConfigError::StateNotWritable`]; nothing has changed then.
    pub fn restore(&mut self, state: &PciConfigStateV1) -> Result<WriteOutcome, PciConfigError> {
        let PciConfigStateV1 { pci_id: saved, registers } = state;
        let pci_id = self.registers.load(REG_ID);
        if *saved != pci_id {
            return Err(PciConfigError::StateOfAnother { saved: *saved, pci_id });
        }
        let registers = state::flat(registers);
        if let Some((register, bits)) = self.registers.unchangeable(&registers) {
            return Err(PciConfigError::StateNotWritable { register, bits });
        }
        let (command, bars) = (self.command(), self.decoded());
        self.registers.restore(&registers);
        Ok(self.outcome_since(command, bars))
    }

    /// The outcome of everything that happened since Command and the decoded BARs were as given.
    fn outcome_since(&self, before: Command, bars: decode::Decoded) -> WriteOutcome {
        let after = self.command();
        WriteOutcome {
            command: (before != after).then_some(CommandChange { before, after }),
            bars: decode::changes(bars, self.decoded()),
            ..WriteOutcome::default()
        }
    }

    fn expect_free(&self, index: BarIndex) -> Result<(), PciConfigError> {
        let before = index.previous().and_then(|previous| self.described(previous));
        if self.described(index).is_some() || before.is_some_and(Bar::is_64_bit) {
            return Err(PciConfigError::BarSlotTaken { index });
        }
        Ok(())
    }

    /// What was added at this index; nothing is, at the upper half of a 64-bit BAR.
    fn described(&self, index: BarIndex) -> Option<&Bar> {
        self.bars.get(index.slot())?.as_ref()
    }
}

impl fmt::Debug for PciConfigSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciConfigSpace")
            .field("command", &self.command())
            .field("bars", &self.bars)
            .finish_non_exhaustive()
    }
}
