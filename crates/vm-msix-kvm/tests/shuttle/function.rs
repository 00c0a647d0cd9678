//! A function, and what its oracle is told of what is done to it.

use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};

use shuttle::sync::{Mutex, MutexGuard};
use shuttle::thread::{self, JoinHandle};
use vm_msix::test_utils::GuestDriver;
use vm_msix::{IrqfdBackend, MsiBackend, MsixConfig};
use vm_msix_kvm::model::VmFd;

use crate::actors::{Device, Looker, Producer};
use crate::oracle::{Before, Oracle, Place, message};

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

    pub(crate) fn oracle(&self) -> &Oracle {
        &self.oracle
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
        self.is_over();
    }

    /// Every Mask Bit is clear.
    pub(crate) fn unmask_all(&self) {
        self.may_send();
        GuestDriver::new(&mut *self.lock()).unmask_function();
    }

    /// Every vector is unmasked.
    pub(crate) fn disable(&self) {
        GuestDriver::new(&mut *self.lock()).disable();
        self.is_over();
    }

    /// The same.
    pub(crate) fn enable_again(&self) {
        self.may_send();
        self.enable();
    }

    /// Every vector is programmed anew before it is used again.
    pub(crate) fn reset(&self) {
        let before = self.before();
        self.lock().reset();
        self.is_over();
        self.takes_back(before);
    }

    /// Tells whether there was something to take back.
    pub(crate) fn retract(&self, vector: u8) -> bool {
        let place = self.place(vector);
        let before = self.oracle.before(place);
        let was_pending = self.lock().retract(vector.into()).unwrap();
        self.oracle.sees(place, before, was_pending);
        if was_pending {
            self.oracle.takes_back(place, before);
        }
        was_pending
    }

    /// Every vector may send from now on.
    pub(crate) fn may_send(&self) {
        (0..self.vectors).for_each(|vector| self.oracle.unmasks(self.place(vector)));
    }

    /// Nothing may come any more.
    pub(crate) fn is_over(&self) {
        (0..self.vectors).for_each(|vector| self.oracle.has_masked(self.place(vector)));
    }

    pub(crate) fn is_pending(&self, vector: u8) -> bool {
        let before = self.oracle.before(self.place(vector));
        let is_pending = GuestDriver::new(&mut *self.lock()).is_pending(vector.into());
        self.oracle.sees(self.place(vector), before, is_pending);
        is_pending
    }

    /// Of each vector.
    pub(crate) fn before(&self) -> Vec<Before> {
        (0..self.vectors).map(|vector| self.oracle.before(self.place(vector))).collect()
    }

    /// Each vector's Pending Bit was seen.
    pub(crate) fn sees(&self, before: Vec<Before>, is_pending: impl Fn(u8) -> bool) {
        for (vector, before) in (0..).zip(before) {
            self.oracle.sees(self.place(vector), before, is_pending(vector));
        }
    }

    /// What each vector kept was taken back.
    pub(crate) fn takes_back(&self, before: Vec<Before>) {
        for (vector, before) in (0..).zip(before) {
            self.oracle.takes_back(self.place(vector), before);
        }
    }

    /// The descriptor, and a producer who has it.
    pub(crate) fn irqfd(&self, vector: u8) -> (B::Irqfd, Producer) {
        let guard = self.lock().get_irqfd(vector.into()).unwrap();
        let producer = self.producer(vector, &guard);
        (guard, producer)
    }

    /// Somebody who writes an eventfd of this vector's.
    pub(crate) fn producer(&self, vector: u8, eventfd: &impl AsFd) -> Producer {
        let eventfd = eventfd.as_fd().try_clone_to_owned().unwrap();
        Producer::new(self.place(vector), eventfd, self.vm.clone(), self.oracle.clone())
    }

    pub(crate) fn device(&self, vector: u8) -> Device<B> {
        let trigger = self.lock().trigger_handle(vector.into()).unwrap();
        Device::new(self.place(vector), trigger, self.oracle.clone())
    }

    /// Somebody takes the descriptor, signals, and goes.
    pub(crate) fn spawn_holder(&self, vector: u8) -> JoinHandle<()> {
        let function = self.clone();
        thread::spawn(move || {
            let (guard, producer) = function.irqfd(vector);
            producer.signal();
            drop(guard);
        })
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

impl<B: IrqfdBackend + Clone + 'static> Function<B> {
    pub(crate) fn looker(&self) -> Looker<B> {
        Looker::new(self.clone(), self.lock().backend().clone())
    }
}

/// Waits for threads, and passes their panics on.
pub(crate) fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
