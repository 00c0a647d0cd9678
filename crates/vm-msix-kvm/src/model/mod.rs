//! The host as a model: what [`crate::sys`] names, carried by shuttle, which tries one schedule after the other.
//!
//! Only with `--cfg vm_msix_shuttle`. `tests/shuttle` has the scenarios, `tests/model` the
//! search of every sequence; they say how to run them.
//!
//! - Threads and locks are shuttle's.
//! - Eventfds and epoll are the kernel's own: nothing here waits in them, so they are memory that a schedule decides about.
//! - KVM is [`VmFd`]. It panics where the crate breaks the order of ioctls.
//! - Time passes when somebody looks at the clock.
//! - Who waits for an eventfd or a futex waits for shuttle, so that a wake-up that is missed shows as a deadlock.

mod clock;
mod kvm;
mod waiting;

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicUsize};
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub(crate) use shuttle::thread;

pub(crate) use clock::Instant;
pub use kvm::{Call, VmFd};
pub use waiting::{Futex, until_asleep};
pub(crate) use waiting::{kick, listen, wait, wake};

use std::io;
use std::time::Duration;

/// Few, so that a close of many is small enough to be searched.
pub(crate) const WORTH_HELP: usize = 2;
/// One more than the two that are always there.
pub(crate) const CLOSERS: usize = 3;

/// Lets others run, or not. Everything that the kernel does has one before it.
pub fn scheduling_point() {
    thread::sleep(Duration::ZERO);
}

/// Calls it, and lets a panic end the schedule: it is the model's, and says what is wrong.
pub(crate) fn outlive(work: impl FnOnce()) {
    work();
}

/// Starts a thread that lives as long as its scope.
pub(crate) fn spawn_helper<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    _name: &str,
    help: impl FnOnce() + Send + 'scope,
) -> io::Result<()> {
    scope.spawn(help);
    Ok(())
}
