//! A VM, its functions, and those who act on them.

use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};

use shuttle::sync::{Mutex, MutexGuard};
use shuttle::thread::{self, JoinHandle};
use vm_msix::MsixConfig;
use vm_msix::test_utils::GuestDriver;
use vm_msix_kvm::model::{VmFd, until_asleep};
use vm_msix_kvm::{Committer, Irqfd, KvmBackend, KvmMsi, Router};

use crate::actors::{Device, Looker, Producer};
use crate::oracle::{Before, Oracle, Place, message};
use crate::table::Table;

/// GSIs enough for every scenario.
const MANY: u32 = 16;

pub(crate) type Msix = MsixConfig<KvmBackend>;

/// A VM.
pub(crate) struct World {
    pub(crate) vm: Arc<VmFd>,
    pub(crate) router: Arc<Router>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) oracle: Arc<Oracle>,
    commits: Commits,
}

/// Who commits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commits {
    Thread,
    Polled,
    Immediate,
}

impl World {
    /// Commits on a thread.
    pub(crate) fn new() -> Self {
        Self::with(MANY, Commits::Thread)
    }

    pub(crate) fn with(gsis: u32, commits: Commits) -> Self {
        let oracle = Arc::new(Oracle::default());
        let judge = oracle.clone();
        let vm = Arc::new(VmFd::new(gsis, move |message| judge.interrupt(message)));
        let router = Arc::new(Router::new(vm.clone(), Vec::new()));
        let table = Arc::new(Table::new(router.clone()));
        let committer = match commits {
            Commits::Thread => Committer::spawn(table).unwrap(),
            Commits::Polled => Committer::polled(table).unwrap(),
            Commits::Immediate => Committer::immediate(table),
        };
        Self { vm, router, committer, oracle, commits }
    }

    pub(crate) fn delivery(&self) -> KvmMsi {
        KvmMsi::new(self.vm.clone(), self.committer.clone())
    }

    /// A function that is enabled, each vector programmed and masked.
    pub(crate) fn function(&self, number: u8, vectors: u8) -> Function {
        self.function_by(self.delivery(), number, vectors)
    }

    pub(crate) fn function_by(&self, delivery: KvmMsi, number: u8, vectors: u8) -> Function {
        let msix = MsixConfig::new(vectors.into(), delivery, 0x1041_1af4, "scenario").unwrap();
        let function = Function {
            number,
            vectors,
            msix: Arc::new(Mutex::new(msix)),
            vm: self.vm.clone(),
            oracle: self.oracle.clone(),
        };
        function.enable();
        (0..vectors).for_each(|vector| function.program(vector));
        function
    }

    /// Waits until nothing moves any more.
    pub(crate) fn rest(&self) {
        match self.commits {
            Commits::Thread => until_asleep(),
            Commits::Polled => (0..4).for_each(|_| self.committer.run_pending()),
            Commits::Immediate => {}
        }
        self.vm.settle();
    }

    /// Nothing moves any more: the oracle judges, and the core agrees with the backend.
    pub(crate) fn judge(&self, functions: &[&Function]) {
        self.rest();
        for function in functions {
            function.judge();
        }
    }

    /// Everything is given back.
    pub(crate) fn expect_empty(&self) {
        assert_eq!(self.vm.irqfds(), 0, "irqfds are left");
        assert_eq!(self.router.gsis_in_use(), 0, "GSIs are left");
    }

    /// The functions go, after they have been judged and have shown that they are alive.
    pub(crate) fn end(self, functions: impl IntoIterator<Item = Function>) {
        let functions: Vec<_> = functions.into_iter().collect();
        self.judge(&functions.iter().collect::<Vec<_>>());
        for function in &functions {
            (0..function.vectors).for_each(|vector| function.prove(&self, vector));
        }
        drop(functions);
        self.expect_empty();
    }
}

/// A function, and the VMM's lock over its registers.
#[derive(Clone)]
pub(crate) struct Function {
    number: u8,
    vectors: u8,
    msix: Arc<Mutex<Msix>>,
    vm: Arc<VmFd>,
    oracle: Arc<Oracle>,
}

impl Function {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Msix> {
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
    pub(crate) fn irqfd(&self, vector: u8) -> (Irqfd, Producer) {
        let guard = self.lock().get_irqfd(vector.into()).unwrap();
        let producer = self.producer(vector, &guard);
        (guard, producer)
    }

    /// Somebody who writes an eventfd of this vector's.
    pub(crate) fn producer(&self, vector: u8, eventfd: &impl AsFd) -> Producer {
        let eventfd = eventfd.as_fd().try_clone_to_owned().unwrap();
        Producer::new(self.place(vector), eventfd, self.vm.clone(), self.oracle.clone())
    }

    pub(crate) fn device(&self, vector: u8) -> Device {
        let trigger = self.lock().trigger_handle(vector.into()).unwrap();
        Device::new(self.place(vector), trigger, self.oracle.clone())
    }

    pub(crate) fn looker(&self) -> Looker {
        Looker::new(self.clone(), self.lock().backend().clone())
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

    /// A vector keeps a signal of each kind while it is masked, and sends them as one when it is unmasked.
    fn prove(&self, world: &World, vector: u8) {
        self.mask(vector);
        let (guard, producer) = self.irqfd(vector);
        producer.signal();
        self.device(vector).signal();
        assert!(self.is_pending(vector), "{:?} shows nothing pending", self.place(vector));
        let before = self.oracle.interrupts(self.place(vector));
        self.unmask(vector);
        world.rest();
        self.judge();
        self.expect_interrupts(vector, before + 1);
        drop(guard);
    }
}

/// Waits for threads, and passes their panics on.
pub(crate) fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
