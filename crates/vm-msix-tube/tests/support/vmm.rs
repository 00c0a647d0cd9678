//! A VMM's delivery without a hypervisor: it reads the eventfds of open vectors when it is told to, and fails as it is told to.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_msix::{
    IrqfdBackend, MsiBackend, MsiMessage, Route, RouteEvent, Signal, VectorCount, VectorIndex,
};

use super::fds;

/// The delivery of one session. Openings are deferred until somebody waits for them, or `commit` is called.
pub(crate) struct Vmm {
    vectors: VectorCount,
    state: Mutex<State>,
}

struct State {
    slots: BTreeMap<VectorIndex, Slot>,
    late: Vec<(VectorIndex, Fault)>,
    delivered: Vec<(u16, MsiMessage)>,
    /// Of 100 steps, so many fail.
    faults: Faults,
    random: fastrand::Rng,
    /// What happens when an eventfd is refused.
    refused: Option<Box<dyn Fn() + Send>>,
    asked: usize,
}

/// How often what fails, of 100.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) adopt: u8,
    pub(crate) open: u8,
    pub(crate) late: u8,
    pub(crate) close: u8,
    pub(crate) swap: u8,
    /// Every release panics, and so does every guard that is dropped.
    pub(crate) panic: bool,
}

#[derive(Default)]
struct Slot {
    open: Option<MsiMessage>,
    /// Opens when it is committed.
    queued: Option<MsiMessage>,
    eventfd: Option<Arc<OwnedFd>>,
    latched: bool,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Refused,
    Exhausted,
    StillOpen,
}

/// What a step that was told to fail says.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("told to fail")]
pub(crate) struct Told;

impl Vmm {
    pub(crate) fn new(vectors: u16) -> Arc<Self> {
        Self::failing(vectors, Faults::default(), 0)
    }

    pub(crate) fn failing(vectors: u16, faults: Faults, seed: u64) -> Arc<Self> {
        let state = State {
            slots: BTreeMap::new(),
            late: Vec::new(),
            delivered: Vec::new(),
            faults,
            random: fastrand::Rng::with_seed(seed),
            refused: None,
            asked: 0,
        };
        Arc::new(Self { vectors: VectorCount::new(vectors).unwrap(), state: Mutex::new(state) })
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// This happens whenever an eventfd is refused.
    pub(crate) fn when_refused(&self, refused: impl Fn() + Send + 'static) {
        self.state().refused = Some(Box::new(refused));
    }

    /// Commits what is deferred.
    pub(crate) fn commit(&self) {
        self.state().commit();
    }

    /// Delivers what waits in open vectors, and tells what was delivered since this was last called.
    pub(crate) fn deliver(&self) -> Vec<(u16, MsiMessage)> {
        let mut state = self.state();
        state.pump();
        std::mem::take(&mut state.delivered)
    }

    /// How many vectors have an eventfd.
    pub(crate) fn eventfds(&self) -> usize {
        self.state().slots.values().filter(|slot| slot.eventfd.is_some()).count()
    }

    /// How many vectors are open, or about to be.
    pub(crate) fn open(&self) -> usize {
        let state = self.state();
        state.slots.values().filter(|slot| slot.open.or(slot.queued).is_some()).count()
    }

    /// How often the backend was asked for something.
    pub(crate) fn asked(&self) -> usize {
        self.state().asked
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked_for(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.asked += 1;
        state
    }
}

impl State {
    fn fails(&mut self, of_100: impl Fn(&Faults) -> u8) -> bool {
        self.random.u8(0..100) < of_100(&self.faults)
    }

    fn slot(&mut self, vector: VectorIndex) -> &mut Slot {
        self.slots.entry(vector).or_default()
    }

    fn commit(&mut self) {
        let vectors: Vec<_> = self.slots.keys().copied().collect();
        for vector in vectors {
            let Some(message) = self.slot(vector).queued.take() else { continue };
            if self.fails(|faults| faults.late) {
                let fault = if self.random.bool() { Fault::Refused } else { Fault::Exhausted };
                self.late.push((vector, fault));
            } else {
                self.slot(vector).open = Some(message);
            }
        }
    }

    fn pump(&mut self) {
        for (vector, slot) in &mut self.slots {
            let Some(message) = slot.open else { continue };
            let counted = slot.eventfd.as_ref().is_some_and(|eventfd| fds::take(eventfd) > 0);
            if std::mem::take(&mut slot.latched) | counted {
                self.delivered.push((vector.get(), message));
            }
        }
    }

    /// What waits in a vector's eventfd is its latch's.
    fn keep(&mut self, vector: VectorIndex) {
        let slot = self.slot(vector);
        slot.latched |= slot.eventfd.as_ref().is_some_and(|eventfd| fds::take(eventfd) > 0);
    }
}

impl Fault {
    fn event(self) -> RouteEvent<Told> {
        match self {
            Self::Refused => RouteEvent::Refused(Told),
            Self::Exhausted => RouteEvent::Exhausted(Told),
            Self::StillOpen => RouteEvent::StillOpen(Told),
        }
    }
}

/// What a session is served from: the VMM, and a way back to it from a guard.
#[derive(Clone)]
pub(crate) struct Delivery(pub(crate) Arc<Vmm>);

impl MsiBackend for Delivery {
    type Error = Told;

    fn vectors(&self) -> VectorCount {
        self.0.vectors
    }

    fn set_routes(
        &self,
        changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<Told>),
    ) {
        let mut state = self.0.asked_for();
        for &(vector, route) in changes {
            state.late.retain(|(late, _)| *late != vector);
            let fault = match route {
                Route::Closed if state.fails(|faults| faults.close) => Some(Fault::StillOpen),
                Route::Closed => {
                    (state.slot(vector).open, state.slot(vector).queued) = (None, None);
                    None
                }
                Route::Open(_) if state.fails(|faults| faults.open) => {
                    (state.slot(vector).open, state.slot(vector).queued) = (None, None);
                    Some(if state.random.bool() { Fault::Refused } else { Fault::Exhausted })
                }
                Route::Open(message) => {
                    (state.slot(vector).open, state.slot(vector).queued) = (None, Some(message));
                    None
                }
            };
            if let Some(fault) = fault {
                report(vector, fault.event());
            }
        }
        if state.random.bool() {
            state.commit();
        }
    }

    fn late_events(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<Told>)) {
        let late = std::mem::take(&mut self.0.asked_for().late);
        late.into_iter().for_each(|(vector, fault)| report(vector, fault.event()));
    }

    fn flush(&self) {
        self.0.asked_for().commit();
    }

    fn signal(&self, _vector: VectorIndex) -> Result<Signal, Told> {
        panic!("a VMM signals nothing for a device process")
    }

    fn latched(&self, _qword: usize) -> u64 {
        panic!("a VMM has no Pending Bits of a device process")
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        let mut state = self.0.asked_for();
        state.keep(vector);
        std::mem::take(&mut state.slot(vector).latched)
    }

    fn clear_latches(&self, _cleared: &mut dyn FnMut(VectorIndex)) {
        panic!("a VMM has no latches of a device process")
    }

    fn release(&self, _report: &mut dyn FnMut(VectorIndex, RouteEvent<Told>)) {
        let mut state = self.0.asked_for();
        assert!(!state.faults.panic, "told to panic");
        state.late.clear();
        for slot in state.slots.values_mut() {
            (slot.open, slot.queued, slot.latched) = (None, None, false);
        }
    }
}

/// Keeps an eventfd on its vector, wherever that is swapped to.
pub(crate) struct Held {
    vmm: Arc<Vmm>,
    eventfd: Arc<OwnedFd>,
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.vmm.state();
        let of_this = |slot: &&mut Slot| {
            slot.eventfd.as_ref().is_some_and(|there| Arc::ptr_eq(there, &self.eventfd))
        };
        if let Some(slot) = state.slots.values_mut().find(of_this) {
            slot.eventfd = None;
        }
        assert!(!state.faults.panic, "told to panic");
    }
}

impl IrqfdBackend for Delivery {
    type Irqfd = Held;

    fn irqfd(&self, _vector: VectorIndex) -> Result<Held, Told> {
        panic!("a VMM has no eventfd that the device process did not bring")
    }

    fn adopt_irqfd(&self, vector: VectorIndex, eventfd: OwnedFd) -> Result<Held, Told> {
        let mut state = self.0.asked_for();
        if state.fails(|faults| faults.adopt) {
            if let Some(refused) = &state.refused {
                refused();
            }
            return Err(Told);
        }
        // What waits in the one before is delivered or stays pending.
        state.keep(vector);
        let eventfd = Arc::new(eventfd);
        state.slot(vector).eventfd = Some(Arc::clone(&eventfd));
        Ok(Held { vmm: Arc::clone(&self.0), eventfd })
    }

    fn swap_irqfds(&self, a: VectorIndex, b: VectorIndex) -> Result<(), Told> {
        let mut state = self.0.asked_for();
        if state.fails(|faults| faults.swap) {
            return Err(Told);
        }
        state.keep(a);
        state.keep(b);
        let of_a = state.slot(a).eventfd.take();
        let of_b = std::mem::replace(&mut state.slot(b).eventfd, of_a);
        state.slot(a).eventfd = of_b;
        Ok(())
    }
}
