//! The host as a model: what [`crate::sys`] names, carried by shuttle, which tries one schedule after the other.
//!
//! Only with `--cfg vm_msix_shuttle`. `tests/shuttle` has the scenarios, and says how to run them.
//!
//! - Threads and locks are shuttle's.
//! - Sockets and eventfds are the kernel's own, with its message boundaries, descriptors and ends of connections; but nobody waits
//!   in them, so they are memory that a schedule decides about. Who would wait in the kernel waits for shuttle, until somebody
//!   has changed something there.
//! - A socket has room for a few messages, and the limits that follow from its size are as small.
//! - The event loop is event-manager's, which is only asked what it would do now. How other threads call into it is modelled.
//! - Time does not pass: no timeout is over.

mod event_loop;
mod eventfds;
mod sockets;
mod waiting;

use shuttle::thread::{sleep, yield_now};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use vm_msix::Relax;

pub(crate) use shuttle::sync::atomic::AtomicUsize;
pub(crate) use shuttle::sync::mpsc::sync_channel;
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
pub(crate) use shuttle::thread::{Builder, JoinHandle};

pub(crate) use event_loop::{EventManager, RemoteEndpoint};
pub use eventfds::on_write;
pub(crate) use eventfds::{poll, preadv2, write};
pub(crate) use sockets::{recvmsg, sendmsg, shutdown, socketpair};
pub use waiting::wake;

/// Few, so that what comes in parts is small enough to be searched.
pub(crate) const DESCRIPTORS_PER_PACKET: usize = 2;
/// There is room for so many in a socket of [`socketpair`].
pub(crate) const WINDOW: usize = 3;
/// More than those of as many requests for a vector each.
pub(crate) const RESULTS_IN_WINDOW: usize = 4;

/// Lets others run, or not. Everything that the kernel does has one before it.
pub(crate) fn scheduling_point() {
    sleep(Duration::ZERO);
}

/// Calls it, and lets a panic end the schedule: it is a scenario's, and says what is wrong.
pub(crate) fn catch_unwind<R>(work: impl FnOnce() -> R) -> std::thread::Result<R> {
    Ok(work())
}

/// How a close waits: for others to run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Yield;

impl Relax for Yield {
    fn spins(&self) -> u32 {
        0
    }

    fn park(&self, _word: &AtomicU32, _value: u32) {
        yield_now();
    }

    fn unpark(&self, _word: &AtomicU32) {}
}
