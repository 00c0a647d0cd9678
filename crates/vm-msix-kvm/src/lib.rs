//! Delivery of vm-msix's interrupts through KVM.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!(
    "vm-msix-kvm supports x86-64 Linux only: on another architecture a doorbell has another address. \
     vm-msix itself builds everywhere; implement its `MsiBackend`, or a `MessageSender` for signal mode."
);

mod backend;
mod delivery;
mod error;
mod eventfd;
mod futex;
mod guard;
mod ioctl;
mod irqfd;
mod route_table;
mod router;
mod source;
mod translate;
mod trigger_path;

pub use backend::KvmBackend;
pub use delivery::{LostMessages, MemoryWrite};
pub use error::KvmError;
pub use futex::Futex;
pub use guard::Irqfd;
pub use route_table::{Gsi, MsiRoute, RouteTable};
pub use router::Router;
pub use source::KvmMsi;
pub use translate::{DestinationIds, ExtendedDestinationId, Identity, RequesterId, Translate};
