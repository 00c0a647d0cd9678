//! virtio devices whose queues another process serves: the front-end's side of vhost-user.
//!
//! The transport is the one of [our own devices](crate::virtio), and so are MSI-X and INTx. The backend signals by an eventfd, and
//! that is the vector's own (C13): KVM listens to it while the vector is open, and while it is masked the counter is the Pending
//! Bit. Where a queue has no vector, or MSI-X is not enabled, the backend gets an eventfd that a thread of ours listens to.
//!
//! # What a backend can do
//!
//! It has the guest's memory, and so the guest; nobody else is to suffer.
//!
//! | it | then |
//! |---|---|
//! | closes its socket, dies, answers nonsense, refuses | the device needs a reset (2.1.2) and says so with a configuration interrupt |
//! | does not answer | the same, after a limit; a CPU waits so long once, for this device's registers |
//! | floods a call eventfd | the guest has interrupts of this device's vectors, which it can mask |
//! | fills an eventfd, makes it blocking | only our thread of this device ever writes one that it has |
//! | shrinks the memory's file | it is sealed |
//! | goes on when it was stopped | its eventfds reach nobody; of memory, which it has mapped, nobody can keep it |

mod bell;
mod error;
mod front_end;
mod kind;
mod link;
mod remote;
mod session;
#[cfg(test)]
mod tests;
mod wiring;

use std::sync::Arc;
use std::time::Duration;

use vm_memory::GuestMemoryMmap;
use vm_msix::{IntoBackend, IrqfdBackend};

pub(crate) use error::VhostUserError;
use front_end::FrontEnd;
pub(crate) use kind::BackendAt;
pub(crate) use remote::Remote;

use crate::intx::Intx;
use crate::virtio::{Model, Transport};

/// How long a backend has for whatever a register write wants of it.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// A virtio device on the PCI bus whose queues a backend serves.
pub(crate) type VhostUserPci<B> = Transport<B, Remote<B>>;

impl<B: IrqfdBackend + 'static> VhostUserPci<B> {
    /// The device of a backend. The memory is of files, which the backend is given.
    pub(crate) fn connect(
        name: &str,
        at: &BackendAt,
        vectors: u16,
        limit: Duration,
        source: impl IntoBackend<Backend = B>,
        line: Arc<dyn Intx>,
        memory: GuestMemoryMmap,
    ) -> Result<Self, VhostUserError> {
        let BackendAt { kind, socket: path } = at;
        let socket = front_end::connect(path)
            .map_err(|source| VhostUserError::Connect { path: path.clone(), source })?;
        let greeted = session::within(limit, &socket.try_clone()?, {
            let (kind, memory) = (*kind, memory.clone());
            move || FrontEnd::greet(socket, kind, memory)
        });
        let (front_end, offer) =
            greeted.map_err(|source| VhostUserError::Backend { path: path.clone(), source })?;
        let model = Model { id: kind.id, class: kind.class, queues: offer.queues };
        Self::served(name, &model, vectors, source, line, |function, notifier| {
            let msix = function.shared_msix();
            Ok(Remote::new(front_end, offer, memory, msix, notifier, limit)?)
        })
    }
}
