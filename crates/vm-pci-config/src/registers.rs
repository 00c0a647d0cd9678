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

    /// Puts back what a guest could change. Everything else is the device's own and stays.
    pub(crate) fn reset(&mut self) {
        for (reg, rule) in self.rules.iter().enumerate() {
            self.values.store(
                reg,
                rule.power_on & rule.writable,
                rule.writable | rule.clear_by_one,
            );
        }
    }

    /// The values, for a handle that changes some of them from outside.
    pub(crate) fn share(&self) -> Arc<Values> {
        Arc::clone(&self.values)
    }
}
