//! The atomics in use: the machine's own, or loom's when a model checks them.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU32, Ordering};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, Ordering};
