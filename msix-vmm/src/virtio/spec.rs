//! Numbers of the PCI transport (virtio 1.2, section 4.1) that virtio-bindings has not, and no behaviour.

use virtio_bindings::{virtio_config, virtio_ring};

/// Vendor ID of every virtio device (4.1.2).
pub(super) const VENDOR: u16 = 0x1af4;
/// Device ID of the modern transport, to which the device's kind is added (4.1.2.1).
pub(super) const DEVICE: u16 = 0x1040;
/// Revision of a device that is not transitional: 1 or higher (4.1.2.1).
pub(super) const REVISION: u8 = 1;

/// No vector is assigned (4.1.4.3).
pub(crate) const NO_VECTOR: u16 = 0xffff;

/// ISR status: a queue has used buffers (4.1.4.5).
pub(super) const ISR_QUEUE: u8 = 1 << 0;
/// ISR status: the device's configuration has changed.
pub(super) const ISR_CONFIG: u8 = 1 << 1;

/// `cfg_type` of the vendor capabilities (4.1.4).
pub(super) mod cfg_type {
    pub(crate) const COMMON: u8 = 1;
    pub(crate) const NOTIFY: u8 = 2;
    pub(crate) const ISR: u8 = 3;
    pub(crate) const DEVICE: u8 = 4;
    pub(crate) const PCI: u8 = 5;
}

/// Offsets in the common configuration (4.1.4.3).
pub(super) mod common {
    pub(crate) const DEVICE_FEATURE_SELECT: u64 = 0;
    pub(crate) const DEVICE_FEATURE: u64 = 4;
    pub(crate) const DRIVER_FEATURE_SELECT: u64 = 8;
    pub(crate) const DRIVER_FEATURE: u64 = 12;
    pub(crate) const CONFIG_VECTOR: u64 = 16;
    pub(crate) const NUM_QUEUES: u64 = 18;
    pub(crate) const STATUS: u64 = 20;
    pub(crate) const CONFIG_GENERATION: u64 = 21;
    pub(crate) const QUEUE_SELECT: u64 = 22;
    pub(crate) const QUEUE_SIZE: u64 = 24;
    pub(crate) const QUEUE_VECTOR: u64 = 26;
    pub(crate) const QUEUE_ENABLE: u64 = 28;
    pub(crate) const QUEUE_NOTIFY_OFF: u64 = 30;
    pub(crate) const QUEUE_DESC: u64 = 32;
    pub(crate) const QUEUE_DRIVER: u64 = 40;
    pub(crate) const QUEUE_DEVICE: u64 = 48;
    pub(crate) const SIZE: u64 = 56;
}

/// Device status (2.1); what virtio-bindings has as `u32` is a byte here.
pub(super) mod status {
    use super::virtio_config as bindings;

    pub(crate) const DRIVER_OK: u8 = bindings::VIRTIO_CONFIG_S_DRIVER_OK as u8;
    pub(crate) const FEATURES_OK: u8 = bindings::VIRTIO_CONFIG_S_FEATURES_OK as u8;
    pub(crate) const NEEDS_RESET: u8 = bindings::VIRTIO_CONFIG_S_NEEDS_RESET as u8;
}

/// Feature bits that are the transport's and the queues' own (6).
pub(crate) mod feature {
    use super::{virtio_config, virtio_ring};

    pub(crate) const INDIRECT_DESC: u64 = 1 << virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;
    pub(crate) const EVENT_IDX: u64 = 1 << virtio_ring::VIRTIO_RING_F_EVENT_IDX;
    pub(crate) const VERSION_1: u64 = 1 << virtio_config::VIRTIO_F_VERSION_1;
}
