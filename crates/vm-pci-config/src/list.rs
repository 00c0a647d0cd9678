//! The capability list: who lies where, and the links that a guest follows.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::capability::{self, CapabilityId, PciCapability};
use crate::live::PciCapConfig;
use crate::registers::{Registers, Rule};
use crate::spec::{
    CAPABILITY_HEADER, CAPABILITY_NEXT, FIRST_CAPABILITY, REG_CAPABILITIES, REG_COMMAND_STATUS,
    REGISTERS, STATUS_CAPABILITIES,
};
use crate::{PciCapMapping, PciConfigError};

/// A capability that has its place.
pub(crate) struct Placed {
    pub(crate) id: CapabilityId,
    first: usize,
    count: usize,
    live: Option<Live>,
}

/// The device behind a capability, with the read mask that it gave when it was added.
pub(crate) struct Live {
    pub(crate) config: Box<dyn PciCapConfig>,
    pub(crate) read_mask: &'static [u32],
}

impl Placed {
    /// The offset at which a guest finds the capability.
    pub(crate) fn offset(&self) -> u16 {
        u16::from(pointer(self.first))
    }
}

/// All capabilities of a function, in the order of the list.
#[derive(Default)]
pub(crate) struct CapabilityList {
    placed: Vec<Placed>,
}

impl CapabilityList {
    /// Appends a capability; nothing changes if it is refused.
    pub(crate) fn add(
        &mut self,
        regs: &mut Registers,
        capability: &dyn PciCapability,
        config: Option<Box<dyn PciCapConfig>>,
    ) -> Result<u16, PciConfigError> {
        let count = capability::check(capability)?;
        let first = self.free();
        if count > REGISTERS - first {
            return Err(PciConfigError::NoRoomForCapability {
                length: capability.bytes().len(),
                left: (REGISTERS - first) * 4,
            });
        }
        let mut live = config.map(|config| enliven(config, count)).transpose()?;

        define(regs, capability, first);
        self.link(regs, first);
        if let Some(live) = &mut live {
            live.config.set_cap_mapping(PciCapMapping::new(regs.share(), first, count));
        }
        let placed = Placed { id: capability.id(), first, count, live };
        let offset = placed.offset();
        self.placed.push(placed);
        Ok(offset)
    }

    /// The first capability with this ID.
    pub(crate) fn find(&self, id: CapabilityId) -> Option<&Placed> {
        self.placed.iter().find(|placed| placed.id == id)
    }

    /// The device behind register `reg`, and the register's number in the device's own count.
    pub(crate) fn live_at(&self, reg: usize) -> Option<(&Live, usize)> {
        let placed = self.placed.get(self.position(reg)?)?;
        Some((placed.live.as_ref()?, reg.checked_sub(placed.first)?))
    }

    /// As [`live_at`](Self::live_at), to write, with the capability's offset and ID.
    pub(crate) fn live_at_mut(
        &mut self,
        reg: usize,
    ) -> Option<(&mut Live, usize, u16, CapabilityId)> {
        let position = self.position(reg)?;
        let placed = self.placed.get_mut(position)?;
        let (offset, id, own) = (placed.offset(), placed.id, reg.checked_sub(placed.first)?);
        Some((placed.live.as_mut()?, own, offset, id))
    }

    fn position(&self, reg: usize) -> Option<usize> {
        self.placed
            .iter()
            .position(|placed| (placed.first..placed.first + placed.count).contains(&reg))
    }

    /// The first register behind the last capability.
    fn free(&self) -> usize {
        self.placed.last().map_or(FIRST_CAPABILITY, |last| last.first + last.count)
    }

    /// Lets the end of the list, or the header if it is empty, point to register `first`.
    fn link(&self, regs: &mut Registers, first: usize) {
        let target = u32::from(pointer(first));
        match self.placed.last() {
            Some(last) => regs.store(last.first, target << 8, CAPABILITY_NEXT),
            None => {
                regs.define(REG_CAPABILITIES, target);
                regs.store(REG_COMMAND_STATUS, STATUS_CAPABILITIES, STATUS_CAPABILITIES);
            }
        }
    }
}

/// The byte offset of a register, as a Next Capability Pointer holds it.
fn pointer(reg: usize) -> u8 {
    // Every register is below 64, so the offset always fits; zero would end the list.
    u8::try_from(reg * 4).unwrap_or(0)
}

fn enliven(config: Box<dyn PciCapConfig>, registers: usize) -> Result<Live, PciConfigError> {
    if config.num_regs() != registers {
        let config = config.num_regs();
        return Err(PciConfigError::RegisterCountMismatch { config, registers });
    }
    let read_mask = config.read_mask();
    if read_mask.len() != registers {
        return Err(PciConfigError::ReadMaskMismatch { given: read_mask.len(), registers });
    }
    match read_mask.first() {
        Some(&mask) if mask & CAPABILITY_HEADER != 0 => {
            Err(PciConfigError::ReadMaskCoversHeader { mask })
        }
        _ => Ok(Live { config, read_mask }),
    }
}

/// Copies the capability's bytes into its registers: the ID from its method, the end of the list as next pointer.
fn define(regs: &mut Registers, capability: &dyn PciCapability, first: usize) {
    for (own, chunk) in capability.bytes().chunks(4).enumerate() {
        let mut bytes = [0; 4];
        for (to, from) in bytes.iter_mut().zip(chunk) {
            *to = *from;
        }
        let mut value = u32::from_le_bytes(bytes);
        if own == 0 {
            value = (value & !CAPABILITY_HEADER) | u32::from(capability.id().0);
        }
        let writable = capability.writable_bits().get(own).copied().unwrap_or(0);
        regs.define_with(first + own, value, Rule { writable, ..Rule::default() });
    }
}
