//! A VM, and its functions.

use std::sync::Arc;

use vm_msix::MsixConfig;
use vm_msix_kvm::model::{VmFd, until_asleep};
use vm_msix_kvm::{Committer, KvmBackend, KvmMsi, Router};

use crate::function;
use crate::oracle::Oracle;
use crate::table::Table;

pub(crate) use crate::function::join;

/// GSIs enough for every scenario.
const MANY: u32 = 16;

pub(crate) type Function = function::Function<KvmBackend>;

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
        Function::new(number, msix, self.vm.clone(), self.oracle.clone())
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
            function.prove(|| self.rest());
        }
        drop(functions);
        self.expect_empty();
    }
}
