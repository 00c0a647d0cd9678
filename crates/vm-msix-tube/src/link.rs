//! The device process's end of the protocol: requests that go out, and what the answers say.
//!
//! A request whose answer need not be waited for, because it closes nothing, is *posted*: the device process goes on, and hears of a
//! failure with a later answer. So a driver that unmasks 2048 vectors one by one waits for an answer some thirty times,
//! and not 2048. Answers come in the order of the requests; each vector knows the number of the request that was about
//! it last, and what an answer to an older one says of it is history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vm_msix::{VectorCount, VectorIndex};

use crate::error::TubeError;
use crate::sys::{RESULTS_IN_WINDOW, WINDOW};
use crate::tube::Tube;
use crate::wire::{
    Answer, Ask, Change, MAGIC, Reply, Request, VERSION, VectorFailure, VectorResult,
};

/// The connection.
#[derive(Debug)]
pub(crate) struct Link {
    tube: Arc<Tube>,
    vectors: VectorCount,
    next_number: u64,
    /// Requests that are not answered, in order.
    unanswered: VecDeque<Owed>,
    /// By vector: the last request that was about its route.
    latest: Box<[u64]>,
    /// Vectors that are closed, or open, against what was asked.
    failures: BTreeMap<VectorIndex, VectorFailure>,
    /// Vectors that failed, be it history or not: the VMM may not have their eventfds.
    unsure: BTreeSet<VectorIndex>,
    /// What became of the last swap.
    swapped: Result<(), VectorFailure>,
    /// Vectors that were closed with a signal in them.
    kept: Vec<VectorIndex>,
    is_over: bool,
    traffic: Traffic,
}

/// An answer that is owed.
#[derive(Debug)]
struct Owed {
    number: u64,
    about: About,
}

/// What an answer tells of.
#[derive(Debug)]
enum About {
    /// The routes of these vectors.
    Routes(Vec<VectorIndex>),
    /// The eventfds of these, and of no route.
    Swap([VectorIndex; 2]),
    Nothing,
}

/// What went through a tube, for those who want to know what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests that were sent.
    pub requests: u64,
    /// How often the device process waited for an answer.
    pub round_trips: u64,
}

impl Link {
    /// Greets, and waits to be welcome.
    pub(crate) fn greet(tube: Arc<Tube>, vectors: VectorCount) -> Result<Self, TubeError> {
        let mut link = Self {
            tube,
            vectors,
            next_number: 0,
            unanswered: VecDeque::new(),
            latest: vectors.indices().map(|_| 0).collect(),
            failures: BTreeMap::new(),
            unsure: BTreeSet::new(),
            swapped: Ok(()),
            kept: Vec::new(),
            is_over: false,
            traffic: Traffic::default(),
        };
        let ask = Ask::Hello { magic: MAGIC, version: VERSION, vectors: vectors.get() };
        link.ask(ask, About::Nothing, &[])?;
        Ok(link)
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Sends changes, and does not wait for what becomes of them, unless too many answers are owed.
    pub(crate) fn post(
        &mut self,
        changes: Vec<Change>,
        eventfds: &[BorrowedFd<'_>],
    ) -> Result<(), TubeError> {
        let about = About::Routes(vectors_of(&changes));
        self.send(Ask::SetRoutes(changes), about, eventfds)?;
        if self.unanswered.len() >= WINDOW || self.results_owed() > RESULTS_IN_WINDOW {
            // Half of them, so that the next half goes out without a wait.
            self.wait_for(self.unanswered.len() / 2)?;
        }
        Ok(())
    }

    /// Sends changes, and waits for what becomes of them.
    pub(crate) fn set_routes(
        &mut self,
        changes: Vec<Change>,
        eventfds: &[BorrowedFd<'_>],
    ) -> Result<(), TubeError> {
        let about = About::Routes(vectors_of(&changes));
        self.ask(Ask::SetRoutes(changes), about, eventfds)
    }

    /// Waits until two vectors have exchanged their eventfds.
    pub(crate) fn swap(&mut self, a: VectorIndex, b: VectorIndex) -> Result<(), TubeError> {
        self.swapped = Ok(());
        self.ask(Ask::Swap(a.get(), b.get()), About::Swap([a, b]), &[])?;
        std::mem::replace(&mut self.swapped, Ok(())).map_err(TubeError::Vector)
    }

    /// Waits until nothing is deferred.
    pub(crate) fn flush(&mut self) -> Result<(), TubeError> {
        self.ask(Ask::Flush, About::Nothing, &[])
    }

    /// Waits until everything was given back.
    pub(crate) fn release(&mut self) -> Result<(), TubeError> {
        self.ask(Ask::Release, About::Nothing, &[])
    }

    /// Waits for every answer that is owed.
    pub(crate) fn settle(&mut self) -> Result<(), TubeError> {
        if self.is_over {
            return Err(TubeError::Disconnected);
        }
        self.wait_for(0)
    }

    /// Hears what has been answered, and waits for nothing.
    pub(crate) fn hear(&mut self) -> Result<(), TubeError> {
        while !self.unanswered.is_empty() && !self.is_over {
            let received = self.tube.try_recv_with::<Reply>();
            match received.inspect_err(|_| self.end())? {
                Some((reply, _)) => self.take(reply)?,
                None => break,
            }
        }
        Ok(())
    }

    /// Vectors that are not as was asked.
    pub(crate) fn take_failures(&mut self) -> BTreeMap<VectorIndex, VectorFailure> {
        std::mem::take(&mut self.failures)
    }

    /// Whether a vector failed, which nobody else hears of then.
    pub(crate) fn take_failure(&mut self, vector: VectorIndex) -> Option<VectorFailure> {
        self.failures.remove(&vector)
    }

    /// Vectors that failed since this was last asked: the VMM may not have their eventfds.
    pub(crate) fn take_unsure(&mut self) -> BTreeSet<VectorIndex> {
        std::mem::take(&mut self.unsure)
    }

    /// Whether a vector failed, of which somebody is yet to hear.
    pub(crate) fn failure(&self, vector: VectorIndex) -> Option<VectorFailure> {
        self.failures.get(&vector).copied()
    }

    /// Vectors that were closed with a signal in them.
    pub(crate) fn take_kept(&mut self) -> Vec<VectorIndex> {
        std::mem::take(&mut self.kept)
    }

    /// Asks, and waits for the answer, and those before it.
    fn ask(
        &mut self,
        ask: Ask,
        about: About,
        eventfds: &[BorrowedFd<'_>],
    ) -> Result<(), TubeError> {
        self.send(ask, about, eventfds)?;
        self.wait_for(0)
    }

    fn send(
        &mut self,
        ask: Ask,
        about: About,
        eventfds: &[BorrowedFd<'_>],
    ) -> Result<(), TubeError> {
        if self.is_over {
            return Err(TubeError::Disconnected);
        }
        let number = self.next_number;
        let sent = self.tube.send_with(&Request { number, ask }, eventfds);
        sent.inspect_err(|error| {
            if !is_unsent(error) {
                self.end();
            }
        })?;
        self.next_number += 1;
        self.traffic.requests += 1;
        if let About::Routes(vectors) = &about {
            for vector in vectors {
                self.latest[vector.as_usize()] = number;
                self.failures.remove(vector);
            }
        }
        self.unanswered.push_back(Owed { number, about });
        Ok(())
    }

    fn results_owed(&self) -> usize {
        self.unanswered.iter().map(|owed| owed.about.vectors().len()).sum()
    }

    /// Nothing that comes after this would have a meaning. The VMM hears of it, and gives everything back.
    fn end(&mut self) {
        self.is_over = true;
        self.tube.shut_down();
    }

    /// Waits until no more than so many answers are owed.
    fn wait_for(&mut self, owed: usize) -> Result<(), TubeError> {
        if self.unanswered.len() <= owed {
            return Ok(());
        }
        self.traffic.round_trips += 1;
        while self.unanswered.len() > owed {
            let reply = self.tube.recv().inspect_err(|_| self.end())?;
            self.take(reply)?;
        }
        Ok(())
    }

    fn take(&mut self, reply: Reply) -> Result<(), TubeError> {
        self.understand(reply).inspect_err(|_| self.end())
    }

    fn understand(&mut self, Reply { number, answer }: Reply) -> Result<(), TubeError> {
        let (results, late) = match answer {
            Answer::Refused(refusal) => return Err(TubeError::Refused(refusal)),
            Answer::Welcome => (Vec::new(), Vec::new()),
            Answer::Done { results, late } => (results, late),
        };
        let owed = self.unanswered.pop_front().filter(|owed| owed.number == number);
        let Some(Owed { about, .. }) = owed.filter(|owed| owed.about.is_answered_by(&results))
        else {
            return Err(TubeError::Malformed("an answer to nothing that was asked"));
        };
        for (vector, result) in about.vectors().iter().zip(results) {
            self.note(number, &about, *vector, result);
        }
        for (vector, failure) in late {
            let vector = VectorIndex::new(vector).filter(|index| index.get() < self.vectors.get());
            let vector = vector.ok_or(TubeError::Malformed("a vector that does not exist"))?;
            self.unsure.insert(vector);
            if self.latest[vector.as_usize()] <= number {
                self.failures.insert(vector, failure);
            }
        }
        Ok(())
    }

    fn note(&mut self, number: u64, about: &About, vector: VectorIndex, result: VectorResult) {
        let failure = match result {
            VectorResult::Done => return,
            VectorResult::Kept => return self.kept.push(vector),
            VectorResult::Failed(failure) => failure,
        };
        match about {
            About::Swap(_) => self.swapped = Err(failure),
            _ => {
                self.unsure.insert(vector);
                if self.latest[vector.as_usize()] == number {
                    self.failures.insert(vector, failure);
                }
            }
        }
    }
}

impl About {
    fn vectors(&self) -> &[VectorIndex] {
        match self {
            Self::Routes(vectors) => vectors,
            Self::Swap(vectors) => vectors,
            Self::Nothing => &[],
        }
    }

    fn is_answered_by(&self, results: &[VectorResult]) -> bool {
        results.len() == self.vectors().len()
    }
}

fn vectors_of(changes: &[Change]) -> Vec<VectorIndex> {
    changes.iter().filter_map(|change| VectorIndex::new(change.vector)).collect()
}

/// Whether nothing of a message was sent.
pub(crate) fn is_unsent(error: &TubeError) -> bool {
    matches!(
        error,
        TubeError::Call { .. } | TubeError::TooLong { .. } | TubeError::TooManyDescriptors { .. }
    )
}
