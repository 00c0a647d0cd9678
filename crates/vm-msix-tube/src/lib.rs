//! MSI-X for device processes.
//!
//! A device that runs in a process of its own, in a sandbox, needs two things of the VMM: that its interrupts reach the guest, and
//! that nobody else's do through it. Here the device process has the registers and the latches, as
//! [`MsixConfig`](vm_msix::MsixConfig) over a [`Tube`]; the VMM has the hypervisor, and a [`Server`] that does what device
//! processes ask, for vectors of their own connection only.
//!
//! - A trigger is a write to an eventfd, which the hypervisor listens to. It never touches the socket.
//! - A route is a message over the tube: many vectors in one, and what opens is not waited for.
//! - Whatever a device process says, or how it ends, it costs nobody else an interrupt: see the threat model in the README.
//!
//! ```
//! use vm_msix::test_utils::MockBackend;
//! use vm_msix::{MsixConfig, Signal};
//! use vm_msix_tube::{Tube, TubeError};
//!
//! fn device(tube: Tube) -> Result<Signal, vm_msix::MsixError> {
//!     let msix = MsixConfig::new(4, tube, 0x1042_1af4, "disk0")?;
//!     msix.trigger(0)
//! }
//! # let (here, there) = Tube::pair()?;
//! # drop(here);
//! // Without a VMM at the other end, there is no delivery.
//! assert!(device(there).is_err());
//! # Ok::<(), TubeError>(())
//! ```
#![deny(missing_docs)]

mod backend;
mod error;
mod eventfds;
mod frame;
mod function;
mod guard;
#[cfg(not(vm_msix_shuttle))]
mod host;
mod inbox;
mod link;
#[cfg(vm_msix_shuttle)]
pub mod model;
mod outbox;
mod server;
mod session;
mod tube;
mod wire;

#[cfg(not(vm_msix_shuttle))]
use host as sys;
#[cfg(vm_msix_shuttle)]
use model as sys;

pub use backend::TubeBackend;
pub use error::TubeError;
pub use frame::{MAX_DESCRIPTORS, MAX_MESSAGE};
pub use guard::TubeIrqfd;
pub use link::Traffic;
pub use server::{Server, ServerError, SessionEnd};
pub use session::Quota;
pub use tube::Tube;
pub use wire::{Refusal, VectorFailure, Violation};
