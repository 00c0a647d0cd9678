//! What those who signal were told, counted by themselves.

use std::ops::AddAssign;

use serde::Serialize;
use vm_msix::Signal;

use super::rig::Rig;

/// Signals, by what became of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Sent at once.
    pub(crate) sent: u64,
    /// Latched.
    pub(crate) latched: u64,
    /// Collapsed into a latched one.
    pub(crate) collapsed: u64,
    /// Written to an eventfd by the device.
    pub(crate) handed_over: u64,
    /// Written to an eventfd by somebody who has nothing else: no device hears of them.
    pub(crate) written: u64,
    /// Taken back by the device.
    pub(crate) retracted: u64,
}

impl Tally {
    /// Counts a signal of a vector.
    pub(crate) fn count(&mut self, rig: &Rig, vector: u16, signal: Signal) {
        *match signal {
            Signal::Sent => &mut self.sent,
            Signal::Latched => &mut self.latched,
            Signal::Collapsed => &mut self.collapsed,
            Signal::HandedOver if rig.is_written(vector) => &mut self.written,
            Signal::HandedOver => &mut self.handed_over,
        } += 1;
    }

    /// All signals.
    pub(crate) fn signals(&self) -> u64 {
        let Self { sent, latched, collapsed, handed_over, written, retracted: _ } = self;
        sent + latched + collapsed + handed_over + written
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self { sent, latched, collapsed, handed_over, written, retracted } = other;
        self.sent += sent;
        self.latched += latched;
        self.collapsed += collapsed;
        self.handed_over += handed_over;
        self.written += written;
        self.retracted += retracted;
    }
}
