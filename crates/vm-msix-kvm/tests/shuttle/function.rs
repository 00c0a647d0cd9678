//! A function, and those who act on it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError};

use shuttle::sync::{Mutex, MutexGuard};
use shuttle::thread::{self, JoinHandle};
use vm_msix::test_utils::GuestDriver;
use vm_msix::{IrqfdBackend, MsiBackend, MsixConfig, Trigger};
use vm_msix_kvm::model::{VmFd, scheduling_point};

use crate::oracle::{Oracle, Place, message};

/// A function, and the lock over its registers.
pub(crate) struct Function<B: MsiBackend> {
    number: u8,
    vectors: u8,
    msix: Arc<Mutex<MsixConfig<B>>>,
    vm: Arc<VmFd>,
    oracle: Arc<Oracle>,
}

impl<B: IrqfdBackend + 'static> Function<B> {
    /// Enabled, each vector programmed and masked.
    pub(crate) fn new(number: u8, msix: MsixConfig<B>, vm: Arc<VmFd>, oracle: Arc<Oracle>) -> Self {
        let vectors = msix.num_vectors().try_into().unwrap();
        let function = Self { number, vectors, msix: Arc::new(Mutex::new(msix)), vm, oracle };
        function.enable();
        (0..vectors).for_each(|vector| function.program(vector));
        function
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, MsixConfig<B>> {
        self.msix.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn place(&self, vector: u8) -> Place {
        (self.number, vector)
    }

    pub(crate) fn enable(&self) {
        GuestDriver::new(&mut *self.lock()).enable();
    }

    pub(crate) fn mask(&self, vector: u8) {
        GuestDriver::new(&mut *self.lock()).mask(vector.into());
        self.oracle.has_masked(self.place(vector));
    }

    pub(crate) fn unmask(&self, vector: u8) {
        self.oracle.unmasks(self.place(vector));
        GuestDriver::new(&mut *self.lock()).unmask(vector.into());
    }

    /// A message that the vector never had.
    pub(crate) fn program(&self, vector: u8) {
        self.program_as(vector, self.oracle.another(self.place(vector)));
    }

    /// A message that it may have had before.
    pub(crate) fn program_as(&self, vector: u8, programming: u8) {
        let place = self.place(vector);
        self.oracle.programs(place, programming);
        GuestDriver::new(&mut *self.lock()).program(vector.into(), message(place, programming));
        self.oracle.has_programmed(place);
    }

    pub(crate) fn rewrite(&self, vector: u8) {
        self.mask(vector);
        self.program(vector);
        self.unmask(vector);
    }

    pub(crate) fn mask_all(&self) {
        GuestDriver::new(&mut *self.lock()).mask_function();
        (0..self.vectors).for_each(|vector| self.oracle.has_masked(self.place(vector)));
    }

    /// Every Mask Bit is clear.
    pub(crate) fn unmask_all(&self) {
        (0..self.vectors).for_each(|vector| self.oracle.unmasks(self.place(vector)));
        GuestDriver::new(&mut *self.lock()).unmask_function();
    }

    /// Every vector is programmed anew before it is used again.
    pub(crate) fn reset(&self) {
        self.lock().reset();
        self.is_over();
        (0..self.vectors).for_each(|vector| self.oracle.forgives(self.place(vector)));
    }

    /// Nothing may come any more.
    pub(crate) fn is_over(&self) {
        (0..self.vectors).for_each(|vector| self.oracle.has_masked(self.place(vector)));
    }

    pub(crate) fn is_pending(&self, vector: u8) -> bool {
        GuestDriver::new(&mut *self.lock()).is_pending(vector.into())
    }

    /// The descriptor, and a producer who has it.
    pub(crate) fn irqfd(&self, vector: u8) -> (B::Irqfd, Producer) {
        let guard = self.lock().get_irqfd(vector.into()).unwrap();
        let producer = self.producer(vector, &guard);
        (guard, producer)
    }

    /// Somebody who writes an eventfd of this vector's.
    pub(crate) fn producer(&self, vector: u8, eventfd: &impl AsFd) -> Producer {
        Producer {
            place: self.place(vector),
            eventfd: eventfd.as_fd().try_clone_to_owned().unwrap(),
            vm: self.vm.clone(),
            oracle: self.oracle.clone(),
        }
    }

    pub(crate) fn device(&self, vector: u8) -> Device<B> {
        let trigger = self.lock().trigger_handle(vector.into()).unwrap();
        Device { place: self.place(vector), trigger, oracle: self.oracle.clone() }
    }

    /// The oracle judges; nothing moves.
    pub(crate) fn judge(&self) {
        for vector in 0..self.vectors {
            self.oracle.judge_at_rest(self.place(vector), self.is_pending(vector));
        }
        let unsynced: Vec<_> = self.lock().unsynced().collect();
        assert_eq!(unsynced, [], "the backend is not as the registers ask");
    }

    /// So many have come; more, and what waited in two places did not collapse.
    pub(crate) fn expect_interrupts(&self, vector: u8, expected: u32) {
        let interrupts = self.oracle.interrupts(self.place(vector));
        assert_eq!(interrupts, expected, "two did not collapse");
    }

    /// Every vector keeps a signal of each kind while it is masked, and sends them as one when it is unmasked.
    pub(crate) fn prove(&self, rest: impl Fn()) {
        (0..self.vectors).for_each(|vector| self.prove_one(vector, &rest));
    }

    fn prove_one(&self, vector: u8, rest: impl Fn()) {
        self.mask(vector);
        let (guard, producer) = self.irqfd(vector);
        producer.signal();
        self.device(vector).signal();
        assert!(self.is_pending(vector), "{:?} shows nothing pending", self.place(vector));
        let before = self.oracle.interrupts(self.place(vector));
        self.unmask(vector);
        rest();
        self.judge();
        self.expect_interrupts(vector, before + 1);
        drop(guard);
    }
}

impl<B: MsiBackend> Clone for Function<B> {
    fn clone(&self) -> Self {
        let Self { number, vectors, msix, vm, oracle } = self;
        Self {
            number: *number,
            vectors: *vectors,
            msix: msix.clone(),
            vm: vm.clone(),
            oracle: oracle.clone(),
        }
    }
}

/// Somebody outside, with a descriptor.
pub(crate) struct Producer {
    place: Place,
    eventfd: OwnedFd,
    vm: Arc<VmFd>,
    oracle: Arc<Oracle>,
}

impl Producer {
    pub(crate) fn signal(&self) {
        scheduling_point();
        self.oracle.signals(self.place);
        self.vm.write(self.eventfd.as_fd());
    }

    /// Signals on a thread of its own, so many times.
    pub(crate) fn spawn(self, times: usize) -> JoinHandle<()> {
        thread::spawn(move || (0..times).for_each(|_| self.signal()))
    }
}

/// The device in this process.
pub(crate) struct Device<B> {
    place: Place,
    trigger: Trigger<B>,
    oracle: Arc<Oracle>,
}

impl<B: MsiBackend + 'static> Device<B> {
    pub(crate) fn signal(&self) {
        scheduling_point();
        self.oracle.signals(self.place);
        self.trigger.trigger().unwrap();
    }

    /// Signals on a thread of its own, so many times.
    pub(crate) fn spawn(self, times: usize) -> JoinHandle<()> {
        thread::spawn(move || (0..times).for_each(|_| self.signal()))
    }
}

/// Waits for threads, and passes their panics on.
pub(crate) fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
