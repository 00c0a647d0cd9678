//! Every message that leaves the device, seen where it leaves: under the latch, in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_msix::MsiMessage;
use vm_msix_kvm::{RequesterId, Translate};

/// CPUs that messages are told apart by.
const CPUS: usize = 2;
/// Vectors of an IDT.
const VECTORS: usize = 256;

/// Counts messages by where they go. That nothing is sent while a vector is masked is judged here, not
/// by when a handler runs.
///
/// It sees what the device itself sends. What KVM takes from an eventfd, it does not see.
#[derive(Debug)]
pub(crate) struct MessageLog {
    interrupts: Vec<AtomicU64>,
    other: AtomicU64,
    memory_writes: AtomicU64,
}

impl MessageLog {
    pub(crate) fn new() -> Self {
        Self {
            interrupts: (0..CPUS * VECTORS).map(|_| AtomicU64::new(0)).collect(),
            other: AtomicU64::new(0),
            memory_writes: AtomicU64::new(0),
        }
    }

    /// Notes a message to an APIC.
    pub(crate) fn interrupt(&self, message: MsiMessage) {
        let counter = message
            .address
            .checked_sub(address(0))
            .filter(|rest| rest & 0xfff == 0)
            .and_then(|rest| index((rest >> 12) as usize, message.data))
            .and_then(|index| self.interrupts.get(index));
        counter.unwrap_or(&self.other).fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a message to memory.
    pub(crate) fn memory_write(&self) {
        self.memory_writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages that asked this CPU for this vector.
    pub(crate) fn interrupts_to(&self, cpu: usize, vector: u8) -> u64 {
        let counter = index(cpu, vector.into()).and_then(|index| self.interrupts.get(index));
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Messages to APICs, all of them.
    pub(crate) fn interrupts(&self) -> u64 {
        let known: u64 =
            self.interrupts.iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
        known + self.other.load(Ordering::Relaxed)
    }

    /// Messages to memory.
    pub(crate) fn memory_writes(&self) -> u64 {
        self.memory_writes.load(Ordering::Relaxed)
    }
}

/// The doorbell of a CPU, as the guest's table has it.
pub(crate) fn address(cpu: usize) -> u64 {
    0xfee0_0000 | (cpu as u64) << 12
}

fn index(cpu: usize, data: u32) -> Option<usize> {
    let vector = usize::try_from(data).ok()?;
    (cpu < CPUS && vector < VECTORS).then_some(cpu * VECTORS + vector)
}

/// Sees each message on its way into KVM: translation is asked at every delivery of signal mode.
pub(crate) struct Tap(pub(crate) Arc<MessageLog>);

impl Translate for Tap {
    fn translate(&self, _requester: RequesterId, message: MsiMessage) -> Option<MsiMessage> {
        self.0.interrupt(message);
        Some(message)
    }
}
