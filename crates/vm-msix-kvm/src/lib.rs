//! Delivers the interrupts of [vm-msix](vm_msix) through KVM.
//!
//! Make one [`Router`] per VM and one [`KvmMsi`] per function; hand the latter to
//! [`MsixConfig::new`](vm_msix::MsixConfig::new).
//!
//! - **Signal mode**, for devices inside the VMM: the latch in memory, and `KVM_SIGNAL_MSI` for an open vector. Nothing is
//!   registered with KVM, so bringing up and masking vectors cost no system call, and there is no limit but memory.
//! - **irqfd mode**, for a vector from the moment somebody asks for its descriptor
//!   ([`get_irqfd`](vm_msix::MsixConfig::get_irqfd)) until the last [`Irqfd`] is dropped: the eventfd's counter is the
//!   latch of whoever writes it, and KVM listens to it while the vector is open. So producers elsewhere are masked like
//!   anybody else.
//!
//! The VM needs an interrupt controller in KVM, whole or split.
//!
//! Messages to addresses that are no doorbell (x86: 0xFEExxxxx) are writes to memory. They go to a [`MemoryWrite`] hook, or
//! are discarded and counted ([`LostMessages`]).

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!(
    "vm-msix-kvm supports x86-64 Linux only: on another architecture a doorbell has another address. \
     vm-msix itself builds everywhere; implement its `MsiBackend`, or a `MessageSender` for signal mode."
);

mod backend;
mod commit;
mod committer;
mod counters;
mod delivery;
mod error;
mod eventfd;
mod foreign_eventfd;
mod function;
mod guard;
#[cfg(not(vm_msix_shuttle))]
mod host;
mod ioctl;
mod irqfd;
mod irqfds;
mod late;
mod mass_close;
#[cfg(vm_msix_shuttle)]
pub mod model;
mod modes;
mod poller;
mod queue;
mod route_table;
mod router;
mod routing_entry;
mod source;
mod translate;

#[cfg(not(vm_msix_shuttle))]
use host as sys;
#[cfg(vm_msix_shuttle)]
use model as sys;

pub use backend::KvmBackend;
pub use committer::{Batch, Committer};
pub use counters::{IoctlCounters, IoctlCounts};
pub use delivery::{LostMessages, MemoryWrite};
pub use error::{EventfdFault, KvmError};
pub use guard::Irqfd;
pub use route_table::{Gsi, MsiRoute, RouteTable};
pub use router::{Router, RouterObserver};
pub use source::KvmMsi;
pub use sys::Futex;
pub use translate::{DestinationIds, ExtendedDestinationId, RequesterId, Translate};
