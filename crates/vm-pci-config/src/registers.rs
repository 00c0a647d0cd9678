//! The stored registers and the rules by which a guest may change them.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::spec::REGISTERS;

/// The stored values, shared with every [`PciCapMapping`](crate::PciCapMapping).
///
/// Release stores and Acquire loads: what a device wrote to guest memory before it changed a register is
/// visible to whoever reads the change.
#[derive(Debug)]
pub(crate) struct Values([AtomicU32; REGISTERS]);

impl Values {
    /// What register `reg` holds; what is not there holds zero.
    pub(crate) fn load(&self, reg: usize) -> u32 {
        self.0.get(reg).map_or(0, |value| value.load(Ordering::Acquire))
    }

    /// Replaces the bits of `mask` by those of `data`, in one step that no other change can split.
    pub(crate) fn store(&self, reg: usize, data: u32, mask: u32) {
        self.change(reg, |old| (old & !mask) | (data & mask));
    }

    fn change(&self, reg: usize, new: impl Fn(u32) -> u32) {
        if let Some(value) = self.0.get(reg) {
            value.update(Ordering::AcqRel, Ordering::Acquire, new);
        }
    }
}

/// What a guest's write does to one register, and what a reset puts there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rule {
    /// Bits that take what the guest writes.
    pub(crate) writable: u32,
    /// Bits that a written one clears.
    pub(crate) clear_by_one: u32,
    /// What the writable bits hold after power-on and after a reset.
    pub(crate) power_on: u32,
}

impl Rule {
    /// Bits that a guest can change in one way or the other.
    fn changeable(&self) -> u32 {
        self.writable | self.clear_by_one
    }
}

/// The 64 registers of one function.
#[derive(Debug)]
pub(crate) struct Registers {
    values: Arc<Values>,
    rules: [Rule; REGISTERS],
}

impl Registers {
    pub(crate) fn new() -> Self {
        let values = Values([const { AtomicU32::new(0) }; REGISTERS]);
        Self { values: Arc::new(values), rules: [Rule::default(); REGISTERS] }
    }

    /// Gives register `reg` its value, read-only so far.
    pub(crate) fn define(&mut self, reg: usize, value: u32) {
        self.define_with(reg, value, Rule::default());
    }

    /// Gives register `reg` its value and its rule; the value is also what a reset restores.
    pub(crate) fn define_with(&mut self, reg: usize, value: u32, rule: Rule) {
        if let Some(slot) = self.rules.get_mut(reg) {
            *slot = Rule { power_on: value, ..rule };
            self.values.store(reg, value, u32::MAX);
        }
    }

    pub(crate) fn load(&self, reg: usize) -> u32 {
        self.values.load(reg)
    }

    /// A change by the device itself, to which no rule applies.
    pub(crate) fn store(&self, reg: usize, data: u32, mask: u32) {
        self.values.store(reg, data, mask);
    }

    /// A guest's write of the byte lanes in `lanes`; a register that is not there takes nothing.
    pub(crate) fn guest_write(&mut self, reg: usize, data: u32, lanes: u32) {
        if let Some(rule) = self.rules.get(reg) {
            let writable = rule.writable & lanes;
            let cleared = rule.clear_by_one & lanes & data;
            self.values.change(reg, |old| ((old & !writable) | (data & writable)) & !cleared);
        }
    }

    /// Of each register, the bits that a guest can change, as they are.
    pub(crate) fn save(&self) -> [u32; REGISTERS] {
        let mut saved = [0; REGISTERS];
        for (reg, (saved, rule)) in saved.iter_mut().zip(&self.rules).enumerate() {
            *saved = self.load(reg) & rule.changeable();
        }
        saved
    }

    /// The first register of which a saved value has bits that no guest can change, and these bits.
    pub(crate) fn unchangeable(&self, saved: &[u32; REGISTERS]) -> Option<(usize, u32)> {
        let strange = |(value, rule): (&u32, &Rule)| value & !rule.changeable();
        let mut bits = saved.iter().zip(&self.rules).map(strange).enumerate();
        bits.find(|(_, bits)| *bits != 0)
    }

    /// Puts saved bits where a guest could have put them. Everything else is the device's own and stays.
    pub(crate) fn restore(&mut self, saved: &[u32; REGISTERS]) {
        for (reg, (value, rule)) in saved.iter().zip(&self.rules).enumerate() {
            self.values.store(reg, *value, rule.changeable());
        }
    }

    /// Puts back what a guest could change. Everything else is the device's own and stays.
    pub(crate) fn reset(&mut self) {
        for (reg, rule) in self.rules.iter().enumerate() {
            self.values.store(reg, rule.power_on & rule.writable, rule.changeable());
        }
    }

    /// The values, for a handle that changes some of them from outside.
    pub(crate) fn share(&self) -> Arc<Values> {
        Arc::clone(&self.values)
    }
}
