//! A device that is saved and continued elsewhere.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use virtio_queue::{Queue, QueueT};
use vm_msix::MsiBackend;

use super::VirtioError;
use super::device::VirtioDevice;
use super::gate::Hold;
use super::registers::Registers;
use super::spec::{ISR_CONFIG, ISR_QUEUE};
use super::transport::VirtioPci;
use crate::device::lock;
use crate::function::FunctionStateV1;

/// A device as it travels: `S` is what it saves of itself.
///
/// No request is half done in it: the worker has stopped between two turns. What is available is served where the device
/// goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VirtioStateV1<S> {
    function: FunctionStateV1,
    /// What the driver may have read of it, a disk's capacity for one.
    config: ByteBuf,
    registers: Registers,
    config_vector: u16,
    isr: u8,
    needs_reset: bool,
    queues: Vec<QueueStateV1>,
    device: S,
}

/// Of each queue its vector, and how far it is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueStateV1 {
    vector: u16,
    next_avail: u16,
    next_used: u16,
}

/// What is wrong with a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateFault {
    #[error("it has another configuration, which is the capacity of a disk")]
    Config,
    #[error("registers that no driver can have written")]
    Registers,
    #[error("vector {0} is not one of the function's")]
    Vector(u16),
    #[error("ISR status {0:#04x}")]
    Isr(u8),
    #[error("queue {0} does not lie in memory as it must")]
    Queue(usize),
}

impl<B: MsiBackend + 'static, D: VirtioDevice> VirtioPci<B, D> {
    /// Stops the device: no request is served and no interrupt is on its way any more. The CPUs have stopped before.
    pub(crate) fn pause(&self) {
        self.server.engine.gate.hold(Hold::Paused);
        self.function.pause();
    }

    /// Goes on.
    pub(crate) fn resume(&self) {
        self.function.resume();
        self.server.engine.gate.kick_all();
        self.server.engine.gate.release(Hold::Paused);
    }

    /// The state of a paused device.
    pub(crate) fn save(&self) -> VirtioStateV1<D::State> {
        let notifier = &self.server.engine.notifier;
        let queue = |(index, queue): (usize, &std::sync::Mutex<Option<Queue>>)| {
            let (next_avail, next_used) = match &*lock(queue) {
                Some(queue) => (queue.next_avail(), queue.next_used()),
                None => (0, 0),
            };
            QueueStateV1 { vector: notifier.queue_vector(index), next_avail, next_used }
        };
        VirtioStateV1 {
            function: self.function.save(),
            config: ByteBuf::from(self.device().config()),
            registers: self.registers().clone(),
            config_vector: notifier.config_vector(),
            isr: notifier.isr(),
            needs_reset: self.server.engine.needs_reset(),
            queues: self.server.engine.queues.iter().enumerate().map(queue).collect(),
            device: self.device().save(),
        }
    }

    /// Takes a saved state over, into a new device whose guest memory is there already, and stays paused.
    ///
    /// # Errors
    ///
    /// The state is not one of such a device. Do not go on with the device then.
    pub(crate) fn restore(&self, state: VirtioStateV1<D::State>) -> Result<(), VirtioError> {
        let queues = self.check(&state)?;
        self.server.engine.gate.hold(Hold::Paused);
        let VirtioStateV1 {
            function,
            config: _,
            registers,
            config_vector,
            isr,
            needs_reset,
            queues: saved,
            device,
        } = state;
        self.function.restore(&function)?;
        self.server.engine.device.restore(device);
        let notifier = &self.server.engine.notifier;
        notifier.set_config_vector(config_vector);
        notifier.set_isr(isr);
        for (index, (queue, saved)) in queues.into_iter().zip(saved).enumerate() {
            notifier.set_queue_vector(index, saved.vector);
            *lock(&self.server.engine.queues[index]) = queue;
        }
        self.server.engine.needs_reset.store(needs_reset, Ordering::SeqCst);
        self.allow(Hold::Driver, registers.driver_ok());
        self.allow(Hold::BusMaster, self.function.bus_master());
        *self.registers() = registers;
        Ok(())
    }

    /// Checks everything that is the transport's own, and makes the queues.
    fn check(&self, state: &VirtioStateV1<D::State>) -> Result<Vec<Option<Queue>>, StateFault> {
        let VirtioStateV1 { config, registers, config_vector, isr, queues, .. } = state;
        if config != self.device().config() {
            return Err(StateFault::Config);
        }
        let count = self.server.engine.queues.len();
        if queues.len() != count || !registers.is_possible(count, self.offered()) {
            return Err(StateFault::Registers);
        }
        if isr & !(ISR_QUEUE | ISR_CONFIG) != 0 {
            return Err(StateFault::Isr(*isr));
        }
        let mut vectors = queues.iter().map(|queue| queue.vector).chain([*config_vector]);
        if let Some(vector) = vectors.find(|vector| !self.server.engine.notifier.is_vector(*vector))
        {
            return Err(StateFault::Vector(vector));
        }
        let features = registers.driver_features;
        let made = registers.queues.iter().zip(queues).enumerate();
        made.map(|(index, (described, saved))| {
            if !described.enabled {
                return Ok(None);
            }
            let queue = described.queue(features, saved.next_avail, saved.next_used);
            let queue = queue.ok().filter(|queue| queue.is_valid(&self.server.engine.memory));
            queue.map(Some).ok_or(StateFault::Queue(index))
        })
        .collect()
    }

    fn allow(&self, reason: Hold, allowed: bool) {
        if allowed {
            self.server.engine.gate.release(reason);
        } else {
            self.server.engine.gate.hold(reason);
        }
    }
}
