//! Vectors that get descriptors and lose them while the device works.

use std::collections::BTreeMap;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use vm_msix::IrqfdBackend;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::device_side::{ActionError, Done};
use crate::device::TestDevice;

/// What is done with the descriptors of vectors.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum DescriptorAction {
    /// Somebody asks for a vector's descriptor, and keeps it.
    Take(u16),
    /// Somebody brings an eventfd for a vector, and keeps it there.
    Adopt(u16),
    /// Two vectors exchange their descriptors.
    Swap(u16, u16),
    /// Those who took or brought a vector's descriptor are done with it.
    Drop(u16),
}

/// Those who keep vectors on descriptors, by the vector for which they came.
pub(crate) struct Holders<I>(Mutex<BTreeMap<u16, Vec<I>>>);

impl<I> Holders<I> {
    /// Nobody yet.
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Does something with the descriptors of a device.
    pub(crate) fn act<B>(&self, device: &TestDevice<B>, action: DescriptorAction) -> Done<()>
    where
        B: IrqfdBackend<Irqfd = I> + 'static,
    {
        let mut holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match action {
            DescriptorAction::Take(vector) => {
                let irqfd = device.msix().get_irqfd(vector.into())?;
                holders.entry(vector).or_default().push(irqfd);
            }
            DescriptorAction::Adopt(vector) => {
                let irqfd = device.msix().adopt_irqfd(vector.into(), new_eventfd()?)?;
                holders.entry(vector).or_default().push(irqfd);
            }
            DescriptorAction::Swap(a, b) => device.msix().swap_irqfds(a.into(), b.into())?,
            DescriptorAction::Drop(vector) => drop(holders.remove(&vector)),
        }
        Ok(())
    }
}

fn new_eventfd() -> Done<OwnedFd> {
    let eventfd = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC);
    let eventfd = eventfd.map_err(|error| ActionError(format!("no eventfd: {error}")))?;
    // SAFETY: it was just made, and is given away here by its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(eventfd.into_raw_fd()) })
}
