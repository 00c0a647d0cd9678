//! One message out of the function: to KVM if it is an interrupt, to memory if it is not (C12).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_msix::{MessageSender, MsiMessage, VectorIndex};

use crate::error::KvmError;
use crate::ioctl::{Injected, Vm};
use crate::translate::{DestinationIds, RequesterId, Translate};

/// Takes messages whose address no local APIC listens to: on hardware they are plain writes to memory.
///
/// Called by the thread that signals, while a close waits for it: write memory and nothing else. In
/// particular, no register of any function may be reached from here, or a guest that points two functions at
/// each other makes them wait for each other; nor may a descriptor of a vector be taken or dropped. Any `Fn(RequesterId, MsiMessage)` is one.
pub trait MemoryWrite: Send + Sync {
    /// Writes the four bytes of data to the address.
    fn write(&self, requester: RequesterId, message: MsiMessage);
}

impl<F: Fn(RequesterId, MsiMessage) + Send + Sync> MemoryWrite for F {
    fn write(&self, requester: RequesterId, message: MsiMessage) {
        self(requester, message);
    }
}

/// How a function's messages leave it.
#[derive(Clone)]
pub(crate) struct Delivery {
    pub(crate) vm: Vm,
    pub(crate) requester: RequesterId,
    pub(crate) destination_ids: DestinationIds,
    /// `None` delivers what the guest wrote.
    pub(crate) translate: Option<Arc<dyn Translate>>,
    pub(crate) memory_write: Option<Arc<dyn MemoryWrite>>,
    pub(crate) losses: Arc<Losses>,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To an APIC, as this message.
    Apic(MsiMessage),
    /// To memory, as the guest wrote it.
    Memory,
    /// Nowhere: translation blocks it.
    Nowhere,
}

/// Messages that left the function and reached nobody.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    discarded: AtomicU64,
    blocked: AtomicU64,
    no_target: AtomicU64,
}

/// How many messages left the function and reached nobody, as they would on hardware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostMessages {
    /// To an address that no APIC listens to, while there is no memory-write hook.
    pub discarded: u64,
    /// Blocked by translation.
    pub blocked: u64,
    /// To an APIC that does not exist or is switched off.
    pub no_target: u64,
}

impl Losses {
    pub(crate) fn get(&self) -> LostMessages {
        // Relaxed, here and below: numbers that order nothing.
        LostMessages {
            discarded: self.discarded.load(Ordering::Relaxed),
            blocked: self.blocked.load(Ordering::Relaxed),
            no_target: self.no_target.load(Ordering::Relaxed),
        }
    }
}

impl Delivery {
    /// Where a message goes now.
    ///
    /// # Errors
    ///
    /// KVM would refuse it.
    #[inline]
    pub(crate) fn target(&self, message: MsiMessage) -> Result<Target, KvmError> {
        if !self.destination_ids.is_doorbell(message) {
            return Ok(Target::Memory);
        }
        let translated = match &self.translate {
            None => message,
            Some(translate) => match translate.translate(self.requester, message) {
                Some(translated) => translated,
                None => return Ok(Target::Nowhere),
            },
        };
        self.destination_ids.check(translated)?;
        Ok(Target::Apic(translated))
    }

    /// Accounts for a message of an outside producer whose vector leads to no APIC.
    pub(crate) fn lose(&self, target: Target) {
        match target {
            Target::Nowhere => self.block(),
            Target::Apic(_) | Target::Memory => self.discard(),
        }
    }

    fn discard(&self) {
        self.losses.discarded.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    fn inject(&self, message: MsiMessage) -> Result<(), KvmError> {
        if self.vm.signal_msi(self.requester, message)? == Injected::NoTarget {
            self.losses.no_target.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    #[cold]
    fn write_memory(&self, message: MsiMessage) {
        match &self.memory_write {
            Some(hook) => hook.write(self.requester, message),
            None => self.discard(),
        }
    }

    #[cold]
    fn block(&self) {
        self.losses.blocked.fetch_add(1, Ordering::Relaxed);
    }
}

impl MessageSender for Delivery {
    type Error = KvmError;

    fn check(&self, message: MsiMessage) -> Result<(), KvmError> {
        self.target(message).map(drop)
    }

    #[inline]
    fn send(&self, _vector: VectorIndex, message: MsiMessage) -> Result<(), KvmError> {
        match self.target(message)? {
            Target::Apic(translated) => self.inject(translated)?,
            Target::Memory => self.write_memory(message),
            Target::Nowhere => self.block(),
        }
        Ok(())
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("requester", &self.requester)
            .field("destination_ids", &self.destination_ids)
            .field("losses", &self.losses.get())
            .finish_non_exhaustive()
    }
}
