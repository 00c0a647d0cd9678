//! MSI-X for virtual PCI devices, whatever the hypervisor.
//!
//! [`MsixConfig`] is the MSI-X of one PCI function: the guest programs its table and Message Control, the device signals
//! its vectors, and messages go out through a backend.
//!
//! - The *registers* decide: a vector is open, to its message, or closed ([`Route`]). One function decides, after every
//!   change, for every vector.
//! - The *backend* ([`MsiBackend`]) acts: it is handed the routes that changed, in one batch, and the signals.
//! - The *[latch]* keeps what comes while a vector is closed, and shows it as Pending Bit. A signal takes no lock; a
//!   masking write waits for the signals that are being sent, and then none of that vector is.
//!
//! A hypervisor that can send a message by a call needs no backend of its own: hand [`SignalMode`] a closure. For KVM,
//! vm-msix-kvm has one, with eventfds for producers outside the VMM.
//!
//! ```
//! use std::convert::Infallible;
//! use vm_msix::{MsiMessage, MsixCap, MsixConfig, MsixLayout, SignalMode, VectorIndex};
//!
//! # fn send(message: MsiMessage) {}
//! // Where table and PBA lie, and the capability that says so.
//! let layout = MsixLayout::propose(4, 2)?;
//! let capability = MsixCap::of(layout);
//!
//! // The function, and how its messages leave it.
//! let sender = SignalMode::new(|_vector: VectorIndex, message: MsiMessage| {
//!     send(message);
//!     Ok::<(), Infallible>(())
//! });
//! let msix = MsixConfig::new(4, sender, 0x1041_1af4, "net0")?;
//!
//! // The device's end of a vector, for any thread.
//! let receive_queue = msix.trigger_handle(0)?;
//! receive_queue.trigger()?;
//! # Ok::<(), vm_msix::MsixError>(())
//! ```
//!
//! # Guarantees
//!
//! The guest is not trusted, nor is a saved state: no access and no state panics, and each has one defined result. The crate
//! is `no_std` with `alloc`, without unsafe code, I/O and logging. Terms are those of the PCIe Base specification, whose
//! sections are cited (6.1.4, 7.7.2).
//!
//! # Features
//!
//! - `std`: what has a descriptor: [`get_irqfd`](MsixConfig), `get_msi_socket`, `AsRawFd`.
//! - `serde`: [`MsixStateV1`] as a serde type, and crosvm's saved state to read it from.
//! - `pci-config`: [`MsixConfig`] as a live capability of vm-pci-config.
//! - `test-utils`: a backend that records and fails, and a driver as a guest would write it.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "std", vm_msix_loom))]
extern crate std;

mod access;
pub mod atomic;
mod backend;
#[cfg(feature = "serde")]
mod bounded;
mod capability;
mod config;
mod control;
mod counters;
#[cfg(feature = "serde")]
mod crosvm;
#[cfg(feature = "std")]
mod descriptors;
mod error;
mod guest_access;
pub mod latch;
pub mod latches;
mod layout;
mod message;
mod observer;
#[cfg(feature = "pci-config")]
mod pci;
mod registers;
mod relax;
mod route;
mod saving;
mod signal_mode;
pub mod spec;
mod state;
mod sync;
mod table;
#[cfg(feature = "test-utils")]
pub mod test_utils;
mod trigger;
mod vector;

pub use access::{Direction, IllegalAccess, Region};
#[cfg(feature = "std")]
pub use backend::IrqfdBackend;
pub use backend::{IntoBackend, MsiBackend, RouteEvent, Signal};
pub use capability::MsixCap;
pub use config::MsixConfig;
pub use counters::{Counters, Counts};
#[cfg(feature = "serde")]
pub use crosvm::{CrosvmMsixState, CrosvmTableEntry};
pub use error::{MsixError, StateError};
pub use guest_access::MsixStatus;
pub use layout::MsixLayout;
pub use message::MsiMessage;
pub use observer::MsixObserver;
#[cfg(feature = "std")]
pub use relax::Yield;
pub use relax::{Relax, Spin};
pub use route::Route;
pub use signal_mode::{MessageSender, SignalBackend, SignalMode};
pub use state::{MsixStateV1, VectorStateV1};
pub use trigger::Trigger;
pub use vector::{VectorCount, VectorIndex};
