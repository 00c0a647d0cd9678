//! What this crate stands on: the threads, locks, sockets and eventfds of the host, and the event loop.
//!
//! The rest of the crate names them by `crate::sys`, which is this module, or, under `--cfg vm_msix_shuttle`, `crate::model`:
//! the same names, carried by a scheduler that tries one schedule after the other.

pub(crate) use std::panic::catch_unwind;
pub(crate) use std::sync::atomic::AtomicUsize;
pub(crate) use std::sync::mpsc::sync_channel;
pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use std::thread::{Builder, JoinHandle};

pub(crate) use event_manager::{EventManager, RemoteEndpoint};
pub(crate) use rustix::event::poll;
pub(crate) use rustix::io::{preadv2, write};
pub(crate) use rustix::net::{recvmsg, sendmsg, shutdown, socketpair};
pub(crate) use vm_msix::Yield;

/// Descriptors of one packet, at most: the kernel's limit.
pub(crate) const DESCRIPTORS_PER_PACKET: usize = 253;
/// Requests without an answer, at most. The VMM ends a session that does not take its answers, so there must be room for so many
/// in a socket as it comes.
pub(crate) const WINDOW: usize = 128;
/// Results in them, at most, for the same reason.
pub(crate) const RESULTS_IN_WINDOW: usize = 4096;
