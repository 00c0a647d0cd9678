//! The atomics in use: the machine's own, or loom's when a model checks them.

#[cfg(not(vm_msix_loom))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(vm_msix_loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
