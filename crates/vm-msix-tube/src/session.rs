//! The VMM's side of one connection: takes requests, and owns what they acquired.
//!
//! Nothing here waits for the device process, and nothing it says is believed: a request is checked whole before any of it is done.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::thread;

use vm_msix::{IntoBackend, IrqfdBackend, MsiBackend, Route, RouteEvent, VectorCount, VectorIndex};

use crate::sys::catch_unwind;
use crate::wire::{
    Answer, Ask, Change, MAGIC, Refusal, Reply, Request, VERSION, VectorFailure, VectorResult,
    Violation, WireRoute,
};

/// What a device process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Vectors, at most: each takes a descriptor of the VMM's while it was open since the last reset, and a GSI.
    pub vectors: u16,
}

/// One connection, as far as it is not a socket.
pub(crate) struct Session<S: IntoBackend<Backend: IrqfdBackend>> {
    quota: Quota,
    next_number: u64,
    state: State<S>,
}

enum State<S: IntoBackend<Backend: IrqfdBackend>> {
    /// Nobody has greeted. Empty while a greeting is answered.
    New(Option<S>),
    /// A function of the device process.
    Serving(Served<S::Backend>),
}

/// What a device process has.
struct Served<B: IrqfdBackend> {
    backend: B,
    vectors: VectorCount,
    /// Keep their vectors on the eventfds that were brought.
    eventfds: BTreeMap<VectorIndex, B::Irqfd>,
    /// What became of vectors, and was not answered yet.
    late: BTreeMap<VectorIndex, VectorFailure>,
}

impl<S: IntoBackend<Backend: IrqfdBackend>> Session<S> {
    pub(crate) fn new(source: S, quota: Quota) -> Self {
        Self { quota, next_number: 0, state: State::New(Some(source)) }
    }

    /// Does what is asked, and answers.
    ///
    /// # Errors
    ///
    /// The session is over, and nothing of the request was done.
    pub(crate) fn handle(
        &mut self,
        request: Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Reply, Refusal> {
        let Request { number, ask } = request;
        let expected = self.next_number;
        if number != expected {
            return Err(Refusal::Violation(Violation::Number { got: number, expected }));
        }
        self.next_number += 1;
        if !matches!(ask, Ask::SetRoutes(_)) {
            expect_descriptors(&descriptors, 0)?;
        }
        let answer = match (&mut self.state, ask) {
            (State::New(source), Ask::Hello { magic, version, vectors }) => {
                let served = greet(source.take(), self.quota, (magic, version, vectors))?;
                self.state = State::Serving(served);
                Answer::Welcome
            }
            (State::New(_), _) | (State::Serving(_), Ask::Hello { .. }) => {
                return Err(Refusal::Violation(Violation::Greeting));
            }
            (State::Serving(served), ask) => served.answer(ask, descriptors)?,
        };
        Ok(Reply { number, answer })
    }

    /// Gives everything back.
    ///
    /// # Errors
    ///
    /// A hook panicked, and this is what it said.
    pub(crate) fn end(self) -> thread::Result<()> {
        match self.state {
            State::New(source) => caught(|| drop(source)),
            State::Serving(served) => served.end(),
        }
    }
}

/// Serves whoever greets, if it may be served.
fn greet<S: IntoBackend<Backend: IrqfdBackend>>(
    source: Option<S>,
    quota: Quota,
    (magic, version, vectors): ([u8; 4], u16, u16),
) -> Result<Served<S::Backend>, Refusal> {
    if magic != MAGIC {
        return Err(Refusal::Violation(Violation::Greeting));
    }
    if version != VERSION {
        return Err(Refusal::Version { asked: version, served: VERSION });
    }
    let too_many = Refusal::Vectors { asked: vectors, quota: quota.vectors };
    let count = VectorCount::new(vectors).map_err(|_| too_many)?;
    if vectors > quota.vectors {
        return Err(too_many);
    }
    let backend = source.and_then(|source| source.into_backend(count).ok());
    match backend {
        Some(backend) if backend.vectors() == count => {
            Ok(Served { backend, vectors: count, eventfds: BTreeMap::new(), late: BTreeMap::new() })
        }
        _ => Err(Refusal::NoDelivery),
    }
}

fn expect_descriptors(came: &[OwnedFd], wanted: usize) -> Result<(), Refusal> {
    let came = came.len();
    if came == wanted {
        Ok(())
    } else {
        Err(Refusal::Violation(Violation::Descriptors { came, wanted }))
    }
}

impl<B: IrqfdBackend> Served<B> {
    fn answer(&mut self, ask: Ask, descriptors: Vec<OwnedFd>) -> Result<Answer, Refusal> {
        let mut results = Vec::new();
        match ask {
            Ask::SetRoutes(changes) => {
                let changes = self.check(&changes, &descriptors)?;
                results = self.set_routes(&changes, descriptors);
            }
            Ask::Flush => self.backend.flush(),
            Ask::Release => self.release(),
            Ask::Swap(a, b) => results = self.swap(self.index(a)?, self.index(b)?).to_vec(),
            // Not the first request.
            Ask::Hello { .. } => return Err(Refusal::Violation(Violation::Greeting)),
        }
        self.hear_late_events();
        let late = std::mem::take(&mut self.late);
        let late = late.into_iter().map(|(vector, failure)| (vector.get(), failure)).collect();
        Ok(Answer::Done { results, late })
    }

    /// Checks everything, before anything is done.
    fn check(
        &self,
        changes: &[Change],
        descriptors: &[OwnedFd],
    ) -> Result<Vec<(VectorIndex, Change)>, Refusal> {
        let brought = changes.iter().filter(|change| change.brings).count();
        expect_descriptors(descriptors, brought)?;
        let not_above = changes.windows(2).find(|pair| pair[0].vector >= pair[1].vector);
        if let Some([_, Change { vector, .. }]) = not_above {
            return Err(Refusal::Violation(Violation::Order { vector: *vector }));
        }
        let check = |change: &Change| {
            let vector = self.index(change.vector)?;
            let opens = change.route != WireRoute::Closed;
            if opens && !change.brings && !self.eventfds.contains_key(&vector) {
                let vector = change.vector;
                return Err(Refusal::Violation(Violation::NoEventfd { vector }));
            }
            Ok((vector, *change))
        };
        changes.iter().map(check).collect()
    }

    fn index(&self, vector: u16) -> Result<VectorIndex, Refusal> {
        let vectors = self.vectors.get();
        VectorIndex::new(vector)
            .filter(|index| index.get() < vectors)
            .ok_or(Refusal::Violation(Violation::Vector { vector, vectors }))
    }

    fn set_routes(
        &mut self,
        changes: &[(VectorIndex, Change)],
        descriptors: Vec<OwnedFd>,
    ) -> Vec<VectorResult> {
        let mut failures = BTreeMap::new();
        let mut brought = descriptors.into_iter();
        for (vector, change) in changes {
            // What came late was about another route.
            self.late.remove(vector);
            let eventfd = if change.brings { brought.next() } else { None };
            if let Some(eventfd) = eventfd {
                match self.backend.adopt_irqfd(*vector, eventfd) {
                    Ok(irqfd) => drop(self.eventfds.insert(*vector, irqfd)),
                    Err(_) => drop(failures.insert(*vector, VectorFailure::Refused)),
                }
            }
        }
        // Without its eventfd a vector stays as it is.
        let routes: Vec<_> = changes
            .iter()
            .filter(|(vector, _)| !failures.contains_key(vector))
            .map(|(vector, change)| (*vector, Route::from(change.route)))
            .collect();
        self.backend.set_routes(&routes, &mut |vector, event| {
            if let Some(failure) = failure(&event) {
                failures.insert(vector, failure);
            }
        });
        let result = |(vector, change): &(VectorIndex, Change)| match failures.remove(vector) {
            Some(failure) => VectorResult::Failed(failure),
            // What waits here was handed over, and is the device process's to keep while its vector is closed.
            None if change.route == WireRoute::Closed && self.backend.clear_latch(*vector) => {
                VectorResult::Kept
            }
            None => VectorResult::Done,
        };
        let results = changes.iter().map(result).collect();
        self.late.extend(failures);
        results
    }

    fn swap(&mut self, a: VectorIndex, b: VectorIndex) -> [VectorResult; 2] {
        if self.backend.swap_irqfds(a, b).is_err() {
            return [VectorResult::Failed(VectorFailure::StillOpen); 2];
        }
        let (of_a, of_b) = (self.eventfds.remove(&a), self.eventfds.remove(&b));
        self.eventfds.extend(of_a.map(|irqfd| (b, irqfd)));
        self.eventfds.extend(of_b.map(|irqfd| (a, irqfd)));
        // What waited in an eventfd stays with its vector, which the device process has the latch of.
        [a, b].map(|vector| match self.backend.clear_latch(vector) {
            true => VectorResult::Kept,
            false => VectorResult::Done,
        })
    }

    /// Gives everything back, all at once first: one by one takes longer.
    fn release(&mut self) {
        let Self { backend, eventfds, late, .. } = self;
        late.clear();
        backend.release(&mut |vector, event| {
            if let Some(failure) = failure(&event) {
                late.insert(vector, failure);
            }
        });
        eventfds.clear();
    }

    /// Gives everything back for good. A hook that panics keeps nothing from being given back that comes after it.
    fn end(self) -> thread::Result<()> {
        let Self { backend, eventfds, .. } = self;
        let mut ended = caught(|| backend.release(&mut |_, _| {}));
        for irqfd in eventfds.into_values() {
            let dropped = caught(|| drop(irqfd));
            ended = ended.and(dropped);
        }
        let dropped = caught(|| drop(backend));
        ended.and(dropped)
    }

    fn hear_late_events(&mut self) {
        let Self { backend, late, .. } = self;
        backend.late_events(&mut |vector, event| {
            if let Some(failure) = failure(&event) {
                late.insert(vector, failure);
            }
        });
    }
}

fn caught(step: impl FnOnce()) -> thread::Result<()> {
    catch_unwind(AssertUnwindSafe(step))
}

fn failure<E>(event: &RouteEvent<E>) -> Option<VectorFailure> {
    match event {
        RouteEvent::Refused(_) => Some(VectorFailure::Refused),
        RouteEvent::Exhausted(_) => Some(VectorFailure::Exhausted),
        RouteEvent::StillOpen(_) => Some(VectorFailure::StillOpen),
        _ => None,
    }
}
