//! Real functions on the model of KVM, driven by the operations that drive the oracle.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use vm_msix::{MsiMessage, MsixConfig, MsixError, Signal};
use vm_msix_kvm::model::{Call, VmFd};
use vm_msix_kvm::{Committer, Irqfd, KvmBackend, KvmMsi, Router};

use super::ops::{
    Answer, Commits, Control, Fault, Message, Op, Place, Seen, SeenFunction, Setting, Step,
};

pub(crate) struct Rig {
    vm: Arc<VmFd>,
    router: Arc<Router>,
    committer: Arc<Committer>,
    interrupts: Arc<Mutex<Vec<u32>>>,
    functions: Vec<Option<Function>>,
}

struct Function {
    msix: MsixConfig<KvmBackend>,
    guards: Vec<Option<Irqfd>>,
    /// Which of its two messages a vector has.
    programmings: Vec<bool>,
}

impl Rig {
    pub(crate) fn new(setting: Setting) -> Self {
        let interrupts = Arc::<Mutex<Vec<u32>>>::default();
        let apic = Arc::clone(&interrupts);
        let apic = move |message: MsiMessage| {
            apic.lock().unwrap_or_else(PoisonError::into_inner).push(message.data);
        };
        let vm = Arc::new(VmFd::new(setting.gsis, apic));
        let router = Arc::new(Router::new(Arc::clone(&vm), Vec::new()));
        let committer = match setting.commits {
            Commits::Loop => Committer::polled(router.clone()).unwrap(),
            Commits::AtOnce => Committer::immediate(router.clone()),
        };
        let function = |(number, vectors)| {
            let delivery = KvmMsi::new(Arc::clone(&vm), Arc::clone(&committer));
            Some(Function::new(number, vectors, delivery))
        };
        let functions = (0..).zip(setting.vectors).map(function).collect();
        Self { vm, router, committer, interrupts, functions }
    }

    pub(crate) fn run(&mut self, step: &Step) -> Seen {
        let answer = self.act(step);
        let functions = self
            .functions
            .iter()
            .map(|function| function.as_ref().map_or_else(SeenFunction::default, Function::seen));
        let mut listening: Vec<_> =
            self.vm.listening().into_iter().map(|message| message.data).collect();
        listening.sort_unstable();
        let interrupts = self.take_interrupts();
        let (functions, gsis) = (functions.collect(), self.router.gsis_in_use());
        Seen { answer, interrupts, functions, listening, gsis }
    }

    /// The operation without a look at what it did.
    pub(crate) fn act(&mut self, step: &Step) -> Answer {
        for (call, message) in &step.faults {
            self.vm.refuse(*call, message.data());
        }
        let answer = self.answer(step.op);
        self.vm.settle();
        self.vm.relent();
        answer
    }

    /// Whether KVM may refuse this. What it has taken is as good as before.
    pub(crate) fn can_fail(&self, (call, message): Fault) -> bool {
        call != Call::Route || !self.vm.has_route(message.data())
    }

    /// The data of the interrupts since this was last asked, sorted.
    pub(crate) fn take_interrupts(&self) -> Vec<u32> {
        let mut interrupts = std::mem::take(&mut *self.interrupts.lock().unwrap());
        interrupts.sort_unstable();
        interrupts
    }

    /// Everybody goes. What is left then, in words.
    pub(crate) fn end(mut self) -> Option<String> {
        self.functions.iter_mut().flatten().for_each(Function::let_go);
        self.functions.clear();
        let (irqfds, gsis) = (self.vm.irqfds(), self.router.gsis_in_use());
        (irqfds + gsis > 0).then(|| format!("{irqfds} irqfds and {gsis} GSIs are left"))
    }

    fn answer(&mut self, op: Op) -> Answer {
        let Some(number) = op.function() else {
            self.committer.run_pending();
            return Answer::Done;
        };
        let slot = &mut self.functions[usize::from(number)];
        if let Op::End(_) = op {
            if let Some(Function { msix, guards, .. }) = slot.take() {
                drop(msix);
                drop(guards);
            }
            return Answer::Done;
        }
        slot.as_mut().map_or(Answer::Done, |function| function.answer(op, &self.vm))
    }
}

impl Function {
    fn new(number: u8, vectors: u16, delivery: KvmMsi) -> Self {
        let msix = MsixConfig::new(vectors, delivery, 0x1041_1af4, "modelled").unwrap();
        let guards = (0..vectors).map(|_| None).collect();
        let mut function = Self { msix, guards, programmings: vec![false; vectors.into()] };
        (0..vectors).for_each(|vector| function.program((number, vector)));
        function
    }

    fn let_go(&mut self) {
        self.guards.iter_mut().for_each(|guard| *guard = None);
    }

    fn seen(&self) -> SeenFunction {
        let mut pending = Vec::new();
        for qword in 0..self.msix.num_vectors().div_ceil(64) {
            let mut bytes = [0xa5; 8];
            self.msix.read_pba_entries(8 * u64::from(qword), &mut bytes);
            let bits = u64::from_le_bytes(bytes);
            pending.extend((0..64).filter(|bit| bits >> bit & 1 != 0).map(|bit| 64 * qword + bit));
        }
        SeenFunction {
            pending,
            unsynced: self.msix.unsynced().map(|vector| vector.get()).collect(),
            polled: self.msix.backend().polled_vectors(),
        }
    }

    fn answer(&mut self, op: Op, vm: &VmFd) -> Answer {
        match op {
            Op::Control(_, control) => self.control(control),
            Op::BusMaster(_, allowed) => self.msix.set_bus_master(allowed),
            Op::Mask((_, vector)) => self.write(vector, 12, 1),
            Op::Unmask((_, vector)) => self.write(vector, 12, 0),
            Op::Rewrite(place) => {
                self.programmings[usize::from(place.1)] ^= true;
                self.write(place.1, 8, self.message(place).data());
            }
            Op::Trigger((_, vector)) => return self.trigger(vector),
            Op::Retract((_, vector)) => {
                return Answer::Retracted(self.msix.retract(vector).unwrap());
            }
            Op::Write((_, vector)) => {
                if let Some(guard) = &self.guards[usize::from(vector)] {
                    vm.write(guard.as_fd());
                }
            }
            Op::Promote((_, vector)) => {
                return self.hold(vector, self.msix.get_irqfd(vector.into()));
            }
            Op::Adopt((_, vector)) => {
                return self.hold(vector, self.msix.adopt_irqfd(vector.into(), written()));
            }
            Op::Demote((_, vector)) => self.guards[usize::from(vector)] = None,
            Op::Swap(_) => {
                let swapped = self.msix.swap_irqfds(0, 1);
                if swapped.is_ok() {
                    self.guards.swap(0, 1);
                }
                return done(swapped);
            }
            Op::SaveRestore(_) => {
                let state = self.msix.snapshot();
                self.msix.restore(&state).unwrap();
            }
            Op::Reset(number) => {
                self.msix.reset();
                self.programmings.fill(false);
                (0..self.msix.num_vectors()).for_each(|vector| self.program((number, vector)));
            }
            Op::Flush(_) => return done(self.msix.flush()),
            Op::End(_) | Op::RunPending => (),
        }
        Answer::Done
    }

    fn trigger(&self, vector: u16) -> Answer {
        match self.msix.trigger(vector) {
            Ok(Signal::Sent) => Answer::Sent,
            Ok(Signal::Latched) => Answer::Latched,
            Ok(Signal::Collapsed) => Answer::Collapsed,
            Err(MsixError::Trigger { .. }) => Answer::Failed,
            other => panic!("{other:?}"),
        }
    }

    /// Keeps a descriptor, and lets go of the one before.
    fn hold(&mut self, vector: u16, guard: Result<Irqfd, MsixError>) -> Answer {
        let Ok(guard) = guard else { return Answer::Failed };
        self.guards[usize::from(vector)] = Some(guard);
        Answer::Done
    }

    fn message(&self, place: Place) -> Message {
        Message { place, programming: self.programmings[usize::from(place.1)] }
    }

    fn program(&mut self, place: Place) {
        self.write(place.1, 0, 0xfee0_0000);
        self.write(place.1, 8, self.message(place).data());
    }

    fn control(&mut self, Control { enabled, masked }: Control) {
        let word = u16::from(enabled) << 15 | u16::from(masked) << 14;
        self.msix.write_msix_capability(2, &word.to_le_bytes());
    }

    fn write(&mut self, vector: u16, register: u64, value: u32) {
        self.msix.write_msix_table(16 * u64::from(vector) + register, &value.to_le_bytes());
    }
}

fn done<T, E>(done: Result<T, E>) -> Answer {
    if done.is_ok() { Answer::Done } else { Answer::Failed }
}

/// An eventfd of somebody outside, who has written it.
fn written() -> OwnedFd {
    eventfd(1, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}
