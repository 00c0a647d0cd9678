//! The function's side of INTx, its interrupt while MSI-X is not enabled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use vm_pci_config::InterruptStatus;

use crate::intx::{Intx, IntxCause};

/// What a function has to say on its pin, and whether it may.
pub(crate) struct Pin {
    line: Arc<dyn Intx>,
    causes: AtomicU8,
    msix_enabled: AtomicBool,
    intx_disabled: AtomicBool,
    paused: AtomicBool,
}

// Who sets a cause and who lets the pin speak each store first and then look, so that one of the two raises it: all
// of it is SeqCst.
impl Pin {
    pub(super) fn new(line: Arc<dyn Intx>) -> Self {
        Self {
            line,
            causes: AtomicU8::new(0),
            msix_enabled: AtomicBool::new(false),
            intx_disabled: AtomicBool::new(false),
            paused: AtomicBool::new(false),
        }
    }

    /// Adds causes. The pin rises, if it may.
    pub(crate) fn assert(&self, causes: u8) {
        self.causes.fetch_or(causes, Ordering::SeqCst);
        self.drive();
    }

    /// Takes causes away.
    pub(crate) fn deassert(&self, causes: u8) {
        self.causes.fetch_and(!causes, Ordering::SeqCst);
    }

    /// Takes all causes away, and tells which there were.
    pub(crate) fn take(&self) -> u8 {
        self.causes.swap(0, Ordering::SeqCst)
    }

    /// The causes that there are.
    pub(crate) fn causes(&self) -> u8 {
        self.causes.load(Ordering::SeqCst)
    }

    /// MSI-X Enable, by which a device chooses (C6).
    pub(crate) fn msix_enabled(&self) -> bool {
        self.msix_enabled.load(Ordering::SeqCst)
    }

    /// What Status shows: it does so also while Interrupt Disable keeps the pin low (PCIe Base 7.5.1.1.4).
    pub(super) fn status(&self) -> InterruptStatus {
        if self.causes() != 0 && !self.msix_enabled() {
            InterruptStatus::Pending
        } else {
            InterruptStatus::Clear
        }
    }

    /// Follows configuration space.
    pub(super) fn follow(&self, msix_enabled: bool, intx_disabled: bool) {
        self.msix_enabled.store(msix_enabled, Ordering::SeqCst);
        self.intx_disabled.store(intx_disabled, Ordering::SeqCst);
        self.drive();
    }

    /// Keeps the pin low while the function is saved or restored.
    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
        self.drive();
    }

    fn drive(&self) {
        if self.is_raised() {
            self.line.raise();
        }
    }
}

impl IntxCause for Pin {
    fn is_raised(&self) -> bool {
        let held = |by: &AtomicBool| by.load(Ordering::SeqCst);
        self.status() == InterruptStatus::Pending
            && !held(&self.intx_disabled)
            && !held(&self.paused)
    }
}
