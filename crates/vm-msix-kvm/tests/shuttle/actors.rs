//! Those who act on a function from threads of their own.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use shuttle::thread::{self, JoinHandle};
use vm_msix::{IrqfdBackend, MsiBackend, Trigger};
use vm_msix_kvm::model::{VmFd, scheduling_point};

use crate::function::Function;
use crate::oracle::{Oracle, Place};

/// Somebody outside, with a descriptor.
pub(crate) struct Producer {
    place: Place,
    eventfd: OwnedFd,
    vm: Arc<VmFd>,
    oracle: Arc<Oracle>,
}

impl Producer {
    pub(crate) fn new(place: Place, eventfd: OwnedFd, vm: Arc<VmFd>, oracle: Arc<Oracle>) -> Self {
        Self { place, eventfd, vm, oracle }
    }

    pub(crate) fn signal(&self) {
        scheduling_point();
        self.oracle.signals(self.place, || self.vm.write(self.eventfd.as_fd()));
    }

    /// Signals on a thread of its own, so many times.
    pub(crate) fn spawn(self, times: usize) -> JoinHandle<()> {
        thread::spawn(move || (0..times).for_each(|_| self.signal()))
    }
}

/// The eventfd of somebody outside, who brings it.
pub(crate) fn brought() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}

/// The device in this process.
pub(crate) struct Device<B> {
    place: Place,
    trigger: Trigger<B>,
    oracle: Arc<Oracle>,
}

impl<B: MsiBackend + 'static> Device<B> {
    pub(crate) fn new(place: Place, trigger: Trigger<B>, oracle: Arc<Oracle>) -> Self {
        Self { place, trigger, oracle }
    }

    pub(crate) fn signal(&self) {
        scheduling_point();
        self.oracle.signals(self.place, || {
            self.trigger.trigger().unwrap();
        });
    }

    /// Signals on a thread of its own, so many times.
    pub(crate) fn spawn(self, times: usize) -> JoinHandle<()> {
        thread::spawn(move || (0..times).for_each(|_| self.signal()))
    }
}

/// Looks at the Pending Bits of all vectors at once, without the VMM's lock over the registers.
pub(crate) struct Looker<B: MsiBackend> {
    function: Function<B>,
    backend: B,
}

impl<B: IrqfdBackend + Clone + 'static> Looker<B> {
    pub(crate) fn new(function: Function<B>, backend: B) -> Self {
        Self { function, backend }
    }

    pub(crate) fn look(&self) {
        scheduling_point();
        let before = self.function.before();
        let bits = self.backend.latched(0);
        self.function.sees(before, |vector| bits & 1 << vector != 0);
    }

    /// Looks on a thread of its own, so many times.
    pub(crate) fn spawn(self, times: usize) -> JoinHandle<()> {
        thread::spawn(move || (0..times).for_each(|_| self.look()))
    }
}
