//! What this crate stands on: the threads, locks and waits of the host, and KVM.
//!
//! The rest of the crate names them by `crate::sys`, which is this module, or, under `--cfg vm_msix_shuttle`, `crate::model`:
//! the same names, carried by a scheduler that tries one schedule after the other.

mod epoll;
mod futex;
mod helper;

pub(crate) use kvm_ioctls::VmFd;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize};
pub(crate) use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub(crate) use std::thread;
pub(crate) use std::time::Instant;

pub(crate) use epoll::{kick, listen, wait};
pub use futex::Futex;
pub(crate) use helper::{outlive, spawn_helper};

/// As many vectors closing at once are worth help: below, waking somebody takes as long as the close.
pub(crate) const WORTH_HELP: usize = 16;
/// Threads that close many vectors, the one that is asked included. More gain nothing, and fewer stall when every CPU is busy.
pub(crate) const CLOSERS: usize = 8;
