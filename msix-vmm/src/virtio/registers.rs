//! The common configuration: what the driver reads and writes there (virtio 1.2, 4.1.4.3).

use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueState};

use super::spec::{common, feature, status};

/// The size of every queue, until the driver makes it smaller. Other processes that serve queues may have no room for more.
pub(super) const MAX_QUEUE_SIZE: u16 = 128;

/// The registers that hold what the driver wrote, but for the vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registers {
    pub(super) device_feature_select: u32,
    pub(super) driver_feature_select: u32,
    pub(super) driver_features: u64,
    pub(super) status: u8,
    pub(super) queue_select: u16,
    pub(super) queues: Vec<QueueRegisters>,
}

/// Those of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueRegisters {
    pub(super) size: u16,
    pub(super) enabled: bool,
    pub(super) desc: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
}

/// What a read shows beside the registers themselves.
pub(super) struct View {
    pub(super) offered: u64,
    pub(super) needs_reset: bool,
    pub(super) config_vector: u16,
    pub(super) queue_vector: u16,
}

/// What a write wants done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Another vector for configuration changes.
    ConfigVector(u16),
    /// Another vector for the selected queue.
    QueueVector(u16),
    /// The selected queue is to be enabled.
    Enable(usize),
    /// The driver is ready.
    Start,
    /// The device is to be as after power-on.
    Reset,
}

impl QueueRegisters {
    const RESET: Self =
        Self { size: MAX_QUEUE_SIZE, enabled: false, desc: 0, driver: 0, device: 0 };

    /// The queue that they describe, as far on as it is; an error if no queue can be so.
    pub(super) fn queue(
        &self,
        features: u64,
        next_avail: u16,
        next_used: u16,
    ) -> Result<Queue, virtio_queue::Error> {
        Queue::try_from(QueueState {
            max_size: MAX_QUEUE_SIZE,
            next_avail,
            next_used,
            event_idx_enabled: features & feature::EVENT_IDX != 0,
            size: self.size,
            ready: true,
            desc_table: self.desc,
            avail_ring: self.driver,
            used_ring: self.device,
        })
    }
}

impl Registers {
    pub(super) fn new(queues: usize) -> Self {
        Self {
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            status: 0,
            queue_select: 0,
            queues: vec![QueueRegisters::RESET; queues],
        }
    }

    /// Whether the driver is ready to be served.
    pub(super) fn driver_ok(&self) -> bool {
        self.status & status::DRIVER_OK != 0
    }

    fn features_ok(&self) -> bool {
        self.status & status::FEATURES_OK != 0
    }

    /// The selected queue's number.
    pub(super) fn selected(&self) -> usize {
        self.queue_select.into()
    }

    /// All of it, as bytes: an access of any width at any offset sees them.
    pub(super) fn image(&self, view: &View) -> Image {
        let mut image = Image::default();
        let half = |features: u64, select: u32| match select {
            0 => features,
            1 => features >> 32,
            _ => 0,
        };
        let needs_reset = if view.needs_reset { status::NEEDS_RESET } else { 0 };
        image.put(common::DEVICE_FEATURE_SELECT, 4, self.device_feature_select);
        image.put(common::DEVICE_FEATURE, 4, half(view.offered, self.device_feature_select));
        image.put(common::DRIVER_FEATURE_SELECT, 4, self.driver_feature_select);
        image.put(
            common::DRIVER_FEATURE,
            4,
            half(self.driver_features, self.driver_feature_select),
        );
        image.put(common::CONFIG_VECTOR, 2, view.config_vector);
        image.put(common::NUM_QUEUES, 2, self.queues.len() as u64);
        image.put(common::STATUS, 1, self.status | needs_reset);
        // The configuration of these devices never changes.
        image.put(common::CONFIG_GENERATION, 1, 0_u8);
        image.put(common::QUEUE_SELECT, 2, self.queue_select);
        image.put(common::QUEUE_VECTOR, 2, view.queue_vector);
        // A queue that is not there has size 0.
        if let Some(queue) = self.queues.get(self.selected()) {
            image.put(common::QUEUE_SIZE, 2, queue.size);
            image.put(common::QUEUE_ENABLE, 2, queue.enabled);
            image.put(common::QUEUE_NOTIFY_OFF, 2, self.queue_select);
            image.put(common::QUEUE_DESC, 8, queue.desc);
            image.put(common::QUEUE_DRIVER, 8, queue.driver);
            image.put(common::QUEUE_DEVICE, 8, queue.device);
        }
        image
    }

    /// A write of a whole field; anything else does nothing.
    pub(super) fn write(&mut self, offset: u64, data: &[u8], offered: u64) -> Option<Effect> {
        let mut bytes = [0; 8];
        bytes.get_mut(..data.len())?.copy_from_slice(data);
        let value = u64::from_le_bytes(bytes);
        // A field's width bounds what is written to it.
        let (byte, word, dword) = (value as u8, value as u16, value as u32);
        match (offset, data.len()) {
            (common::DEVICE_FEATURE_SELECT, 4) => self.device_feature_select = dword,
            (common::DRIVER_FEATURE_SELECT, 4) => self.driver_feature_select = dword,
            (common::DRIVER_FEATURE, 4) => self.write_features(dword),
            (common::CONFIG_VECTOR, 2) => return Some(Effect::ConfigVector(word)),
            (common::STATUS, 1) => return self.write_status(byte, offered),
            (common::QUEUE_SELECT, 2) => self.queue_select = word,
            (common::QUEUE_VECTOR, 2) => return Some(Effect::QueueVector(word)),
            (common::QUEUE_ENABLE, 2) => return self.enable(word),
            _ => self.write_queue(offset, data.len(), value),
        }
        None
    }

    /// Features are settled with FEATURES_OK (3.1.1).
    fn write_features(&mut self, value: u32) {
        if self.features_ok() {
            return;
        }
        let (shift, value) = match self.driver_feature_select {
            0 => (0, u64::from(value)),
            1 => (32, u64::from(value)),
            _ => return,
        };
        self.driver_features = self.driver_features & !(0xffff_ffff << shift) | value << shift;
    }

    /// Bits are added until all are cleared at once, which is a reset (2.1.1); a bit that comes too early stays 0.
    fn write_status(&mut self, value: u8, offered: u64) -> Option<Effect> {
        if value == 0 {
            return Some(Effect::Reset);
        }
        let was_ok = self.driver_ok();
        self.status |= value & !(status::NEEDS_RESET | status::FEATURES_OK | status::DRIVER_OK);
        if value & status::FEATURES_OK != 0 && acceptable(self.driver_features, offered) {
            self.status |= status::FEATURES_OK;
        }
        if value & status::DRIVER_OK != 0 && self.features_ok() {
            self.status |= status::DRIVER_OK;
        }
        (self.driver_ok() && !was_ok).then_some(Effect::Start)
    }

    /// Only features that have been settled say what a queue looks like.
    fn enable(&self, value: u16) -> Option<Effect> {
        let queue = self.queues.get(self.selected())?;
        let may = value == 1 && !queue.enabled && self.features_ok();
        may.then(|| Effect::Enable(self.selected()))
    }

    /// A queue in use cannot be changed.
    fn write_queue(&mut self, offset: u64, len: usize, value: u64) {
        let selected = self.selected();
        let Some(queue) = self.queues.get_mut(selected).filter(|queue| !queue.enabled) else {
            return;
        };
        let (address, start) = match offset {
            common::QUEUE_SIZE if len == 2 => {
                if is_size(value) {
                    queue.size = value as u16;
                }
                return;
            }
            common::QUEUE_DESC..common::QUEUE_DRIVER => (&mut queue.desc, common::QUEUE_DESC),
            common::QUEUE_DRIVER..common::QUEUE_DEVICE => (&mut queue.driver, common::QUEUE_DRIVER),
            common::QUEUE_DEVICE..common::SIZE => (&mut queue.device, common::QUEUE_DEVICE),
            _ => return,
        };
        *address = match (offset - start, len) {
            (0, 8) => value,
            (0, 4) => *address & !0xffff_ffff | value,
            (4, 4) => *address & 0xffff_ffff | value << 32,
            _ => return,
        };
    }

    /// Whether a driver can have written all this.
    pub(super) fn is_possible(&self, queues: usize, offered: u64) -> bool {
        let settled = !self.features_ok() || acceptable(self.driver_features, offered);
        let in_order = self.features_ok() || !self.driver_ok();
        let sizes = self.queues.iter().all(|queue| is_size(queue.size.into()));
        let enabled = self.features_ok() || self.queues.iter().all(|queue| !queue.enabled);
        let status = self.status & status::NEEDS_RESET == 0;
        self.queues.len() == queues && settled && in_order && sizes && enabled && status
    }
}

/// What FEATURES_OK asks: nothing that was not offered, and no legacy driver (2.2.1, 6.2).
fn acceptable(features: u64, offered: u64) -> bool {
    features & !offered == 0 && features & feature::VERSION_1 != 0
}

fn is_size(size: u64) -> bool {
    size.is_power_of_two() && size <= MAX_QUEUE_SIZE.into()
}

/// Registers as bytes.
pub(super) struct Image([u8; common::SIZE as usize]);

impl Default for Image {
    fn default() -> Self {
        Self([0; common::SIZE as usize])
    }
}

impl Image {
    fn put(&mut self, offset: u64, width: usize, value: impl Into<u64>) {
        let bytes = value.into().to_le_bytes();
        self.0[offset as usize..][..width].copy_from_slice(&bytes[..width]);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
