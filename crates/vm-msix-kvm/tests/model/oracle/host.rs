//! KVM, as far as one operation goes: what it is asked, what it refuses, what it sends.

use vm_msix_kvm::model::Call;

use super::super::ops::{Fault, Message};

pub(super) struct Host<'a> {
    /// Somebody commits later, and polls.
    pub(super) defers: bool,
    /// GSIs that nobody has.
    pub(super) free: &'a mut u32,
    pub(super) faults: &'a [Fault],
    pub(super) asked: &'a mut Vec<Fault>,
    pub(super) interrupts: &'a mut Vec<u32>,
}

impl Host<'_> {
    pub(super) fn ask(&mut self, call: Call, message: Message) -> Result<(), ()> {
        self.asked.push((call, message));
        if self.faults.contains(&(call, message)) { Err(()) } else { Ok(()) }
    }

    pub(super) fn interrupt(&mut self, message: Message) {
        self.interrupts.push(message.data());
    }
}
