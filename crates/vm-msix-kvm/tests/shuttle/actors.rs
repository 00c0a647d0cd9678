//! Those who act on a function from threads of their own.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use shuttle::thread::{self, JoinHandle};
use vm_msix::{MsiBackend, Trigger};
use vm_msix_kvm::KvmBackend;
use vm_msix_kvm::model::{VmFd, scheduling_point};

use crate::oracle::{Oracle, Place};
use crate::world::Function;

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

/// The device in this process.
pub(crate) struct Device {
    place: Place,
    trigger: Trigger<KvmBackend>,
    oracle: Arc<Oracle>,
}

impl Device {
    pub(crate) fn new(place: Place, trigger: Trigger<KvmBackend>, oracle: Arc<Oracle>) -> Self {
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
pub(crate) struct Looker {
    function: Function,
    backend: KvmBackend,
}

impl Looker {
    pub(crate) fn new(function: Function, backend: KvmBackend) -> Self {
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
