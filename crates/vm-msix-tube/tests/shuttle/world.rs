//! A VMM that serves device processes, and their functions.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

use shuttle::thread;
use vm_msix::MsixConfig;
use vm_msix::test_utils::GuestDriver;
use vm_msix_kvm::model::VmFd;
use vm_msix_tube::model::{on_write, wake};
use vm_msix_tube::{Quota, Server, SessionEnd, Tube, TubeBackend};

use crate::{function, vm};

pub(crate) use crate::vm::{Commits, join};

pub(crate) type Function = function::Function<TubeBackend>;

/// A VM, and the server of its VMM.
pub(crate) struct World {
    pub(crate) vm: vm::World,
    server: Server,
    /// How many sessions there were, and how those ended that did.
    served: Cell<usize>,
    ended: Arc<Mutex<Vec<SessionEnd>>>,
}

impl World {
    /// Commits on a thread.
    pub(crate) fn new() -> Self {
        Self::of(vm::World::new())
    }

    pub(crate) fn with(gsis: u32, commits: Commits) -> Self {
        Self::of(vm::World::with(gsis, commits))
    }

    fn of(vm: vm::World) -> Self {
        let kvm = vm.vm.clone();
        on_write(move |eventfd| kvm.write(eventfd));
        let server = Server::spawn().unwrap();
        Self { vm, server, served: Cell::new(0), ended: Arc::default() }
    }

    pub(crate) fn kvm(&self) -> &VmFd {
        &self.vm.vm
    }

    /// A function that is enabled, each vector programmed and masked.
    pub(crate) fn function(&self, number: u8, vectors: u8) -> Function {
        let msix = self.serve(vectors);
        Function::new(number, msix, self.vm.vm.clone(), self.vm.oracle.clone())
    }

    /// The registers of a function, as they come.
    pub(crate) fn serve(&self, vectors: u8) -> MsixConfig<TubeBackend> {
        let (here, there) = Tube::pair().unwrap();
        let ended = self.ended.clone();
        let note = move |end| ended.lock().unwrap_or_else(PoisonError::into_inner).push(end);
        self.server
            .serve(here, self.vm.delivery(), Quota { vectors: vectors.into() }, note)
            .unwrap();
        self.served.set(self.served.get() + 1);
        MsixConfig::new(vectors.into(), there, 0x1041_1af4, "scenario").unwrap()
    }

    /// Waits until nothing moves any more.
    pub(crate) fn rest(&self, functions: &[&Function]) {
        functions.iter().for_each(|function| drop(function.lock().flush()));
        self.vm.rest();
    }

    /// Nothing moves any more: the oracle judges, and the core agrees with the backend.
    pub(crate) fn judge(&self, functions: &[&Function]) {
        self.rest(functions);
        functions.iter().for_each(|function| function.judge());
    }

    /// Waits until so many sessions are left.
    pub(crate) fn until_left(&self, sessions: usize) {
        while self.server.sessions() > sessions {
            thread::yield_now();
        }
    }

    /// The server stops; tells why the sessions ended.
    pub(crate) fn stop(self) -> (vm::World, Vec<SessionEnd>) {
        let Self { vm, server, ended, .. } = self;
        drop(server);
        let ended = std::mem::take(&mut *ended.lock().unwrap_or_else(PoisonError::into_inner));
        (vm, ended)
    }

    /// The device processes of these functions end.
    pub(crate) fn take_away(&self, functions: impl IntoIterator<Item = Function>) {
        functions.into_iter().for_each(drop);
        wake();
    }

    /// The functions go, after they have been judged and have shown that they are alive.
    pub(crate) fn end(self, functions: impl IntoIterator<Item = Function>) {
        let functions: Vec<_> = functions.into_iter().collect();
        let all: Vec<_> = functions.iter().collect();
        self.judge(&all);
        all.iter().for_each(|function| function.prove(|| self.rest(&all)));
        self.finish(functions);
    }

    /// The functions go, each by itself, and leave nothing.
    pub(crate) fn finish(self, functions: Vec<Function>) {
        let served = self.served.get();
        self.take_away(functions);
        self.until_left(0);
        let (vm, ended) = self.stop();
        vm.rest();
        vm.expect_empty();
        assert_eq!(ended, vec![SessionEnd::Disconnected; served]);
    }
}

/// Clears the Mask Bits of so many vectors, under Function Mask.
pub(crate) fn unmask_bits(function: &Function, vectors: u16) {
    let mut msix = function.lock();
    (0..vectors).for_each(|vector| GuestDriver::new(&mut *msix).unmask(vector));
}
