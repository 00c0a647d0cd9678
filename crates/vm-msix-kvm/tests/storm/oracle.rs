//! What may leave the function, judged where it leaves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vm_msix::{MsiMessage, MsixObserver};

use crate::producing::PRODUCERS;
use crate::support::taps::Log;
use crate::support::{Msix, guest};

/// What the oracle knows, and what it found.
#[derive(Default)]
pub(crate) struct Oracle {
    masked: AtomicBool,
    /// The generation that is programmed; it is in the address and in the data of its message.
    programmed: AtomicU64,
    /// Numbers that each producer wrote before its trigger, and those that a message carried out.
    pub(crate) written: [AtomicU64; PRODUCERS],
    pub(crate) carried: [AtomicU64; PRODUCERS],
    pub(crate) messages: AtomicU64,
    pub(crate) faults: Log<String>,
}

impl Oracle {
    /// A message leaves.
    pub(crate) fn leaves(&self, message: MsiMessage, generation: u64) {
        if self.masked.load(Ordering::Relaxed) {
            self.faults.push(format!("{message:x?} left while masked"));
        }
        let programmed = self.programmed.load(Ordering::Relaxed);
        if generation != programmed {
            self.faults
                .push(format!("{message:x?} left, generation {programmed:#x} is programmed"));
        }
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// What a handler would find in memory, relaxed: the latch alone orders it.
    pub(crate) fn carry(&self) {
        for (written, carried) in self.written.iter().zip(&self.carried) {
            carried.fetch_max(written.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Every number that a producer wrote has been carried out; asked while they rest.
    pub(crate) fn all_arrived(&self) -> bool {
        let both = self.written.iter().zip(&self.carried);
        both.map(|(written, carried)| {
            (written.load(Ordering::Relaxed), carried.load(Ordering::Relaxed))
        })
        .all(|(written, carried)| written == carried)
    }

    pub(crate) fn mask<O: MsixObserver>(&self, msix: &mut Msix<O>) {
        guest(msix).mask(0);
        self.masked.store(true, Ordering::Relaxed);
    }

    pub(crate) fn program<O: MsixObserver>(
        &self,
        msix: &mut Msix<O>,
        generation: u64,
        message: MsiMessage,
    ) {
        self.programmed.store(generation, Ordering::Relaxed);
        guest(msix).program(0, message);
    }

    pub(crate) fn unmask<O: MsixObserver>(&self, msix: &mut Msix<O>) {
        self.masked.store(false, Ordering::Relaxed);
        guest(msix).unmask(0);
    }

    #[track_caller]
    pub(crate) fn expect_no_fault(&self) {
        let faults = self.faults.take();
        assert!(faults.is_empty(), "{} faults, the first: {}", faults.len(), faults[0]);
    }
}
