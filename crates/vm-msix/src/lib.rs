//! MSI-X for virtual PCI devices.
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
#[cfg(any(test, feature = "std", loom))]
extern crate std;

mod access;
pub mod atomic;
mod backend;
mod capability;
mod config;
mod control;
mod counters;
#[cfg(feature = "std")]
mod descriptors;
mod error;
pub mod latch;
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
pub use config::{MsixConfig, MsixStatus};
pub use counters::{Counters, Counts};
pub use error::{MsixError, StateError};
pub use layout::MsixLayout;
pub use message::MsiMessage;
pub use observer::MsixObserver;
pub use relax::{Relax, Spin};
pub use route::Route;
pub use signal_mode::{MessageSender, SignalBackend, SignalMode};
pub use state::{MsixStateV1, VectorStateV1};
pub use trigger::Trigger;
pub use vector::{VectorCount, VectorIndex};
