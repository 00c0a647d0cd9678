//! Somebody outside who has a vector's descriptor: vhost, VFIO, another process.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd};

use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::EventFd;

/// A descriptor of its own, as it arrives in another process.
pub(crate) struct Producer(File);

impl Producer {
    pub(crate) fn of(descriptor: &impl AsFd) -> Self {
        Self(descriptor.as_fd().try_clone_to_owned().unwrap().into())
    }

    /// Signals, as vhost does.
    pub(crate) fn signal(&self) {
        match (&self.0).write(&1_u64.to_ne_bytes()) {
            Ok(8) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("write to the eventfd: {other:?}"),
        }
    }

    /// As kvm-ioctls wants it.
    pub(crate) fn into_eventfd(self) -> EventFd {
        // SAFETY: the number is of a descriptor that nobody else owns any more.
        unsafe { EventFd::from_raw_fd(self.0.into_raw_fd()) }
    }
}

impl AsFd for Producer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether KVM listens to an eventfd: it takes none twice (EBUSY). Where it does not listen, this empties the counter.
pub(crate) fn is_assigned(vm: &VmFd, eventfd: &EventFd) -> bool {
    /// One that nobody gives out here, and that has no route.
    const SPARE: u32 = 4095;
    match vm.register_irqfd(eventfd, SPARE) {
        Ok(()) => {
            vm.unregister_irqfd(eventfd, SPARE).unwrap();
            false
        }
        Err(error) => {
            assert_eq!(error.errno(), libc::EBUSY);
            true
        }
    }
}

/// Clears the non-blocking flag, which belongs to the eventfd and so to everybody who has a descriptor of it.
pub(crate) fn make_blocking(descriptor: &impl AsFd) {
    rustix::io::ioctl_fionbio(descriptor, false).unwrap();
}
