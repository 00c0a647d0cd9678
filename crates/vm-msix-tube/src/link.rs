//! The device process's end of the protocol: requests that go out, and what the answers say.
//!
//! A request whose answer need not be waited for, because it closes nothing, is *posted*: the device process goes on, and hears of a
//! failure with a later answer. So a driver that unmasks 2048 vectors one by one waits for an answer some thirty times,
//! and not 2048. Answers come in the order of the requests; each vector knows the number of the request that was about
//! it last, and what an answer to an older one says of it is history.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vm_msix::{VectorCount, VectorIndex};

use crate::error::TubeError;
use crate::tube::Tube;
use crate::wire::{
    Answer, Ask, Change, MAGIC, RESULTS_IN_WINDOW, Reply, Request, VERSION, VectorFailure,
    VectorResult, WINDOW,
};

/// The connection.
#[derive(Debug)]
pub(crate) struct Link {
    tube: Arc<Tube>,
    vectors: VectorCount,
    next_number: u64,
    /// Requests that are not answered, in order, with the vectors that each is about.
    unanswered: VecDeque<(u64, Vec<VectorIndex>)>,
    /// By vector: the last request that was about it.
    latest: Box<[u64]>,
    /// Vectors that are closed, or open, against what was asked.
    failures: BTreeMap<VectorIndex, VectorFailure>,
    /// Vectors that were closed with a signal in them.
    kept: Vec<VectorIndex>,
    is_over: bool,
    traffic: Traffic,
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
            kept: Vec::new(),
            is_over: false,
            traffic: Traffic::default(),
        };
        let ask = Ask::Hello { magic: MAGIC, version: VERSION, vectors: vectors.get() };
        link.ask(ask, Vec::new(), &[])?;
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
        let vectors = changes.iter().filter_map(|change| VectorIndex::new(change.vector)).collect();
        self.send(Ask::SetRoutes(changes), vectors, eventfds)?;
        if self.unanswered.len() >= WINDOW || self.results_owed() > RESULTS_IN_WINDOW {
            // Half of them, so that the next half goes out without a wait.
            self.wait_for(self.unanswered.len() / 2)?;
        }
        Ok(())
    }

    /// Asks, and waits for the answer, and those before it.
    pub(crate) fn ask(
        &mut self,
        ask: Ask,
        vectors: Vec<VectorIndex>,
        eventfds: &[BorrowedFd<'_>],
    ) -> Result<(), TubeError> {
        self.send(ask, vectors, eventfds)?;
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

    /// Vectors that were closed with a signal in them.
    pub(crate) fn take_kept(&mut self) -> Vec<VectorIndex> {
        std::mem::take(&mut self.kept)
    }

    fn send(
        &mut self,
        ask: Ask,
        vectors: Vec<VectorIndex>,
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
        for vector in &vectors {
            self.latest[vector.as_usize()] = number;
            self.failures.remove(vector);
        }
        self.unanswered.push_back((number, vectors));
        Ok(())
    }

    fn results_owed(&self) -> usize {
        self.unanswered.iter().map(|(_, vectors)| vectors.len()).sum()
    }

    /// Nothing that comes after this would have a meaning. The VMM hears of it, and gives everything back.
    fn end(&mut self) {
        self.is_over = true;
        self.tube.shut_down();
    }

    /// Waits until no more than so many answers are owed.
    fn wait_for(&mut self, owed: usize) -> Result<(), TubeError> {
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
        let asked = self.unanswered.pop_front();
        let Some((_, vectors)) = asked.filter(|(asked, vectors)| {
            *asked == number && (vectors.len() == results.len() || results.is_empty())
        }) else {
            return Err(TubeError::Malformed("an answer to nothing that was asked"));
        };
        for (vector, result) in vectors.into_iter().zip(results) {
            self.note(number, vector, result);
        }
        for (vector, failure) in late {
            let vector = VectorIndex::new(vector).filter(|index| index.get() < self.vectors.get());
            let vector = vector.ok_or(TubeError::Malformed("a vector that does not exist"))?;
            if self.latest[vector.as_usize()] <= number {
                self.failures.insert(vector, failure);
            }
        }
        Ok(())
    }

    fn note(&mut self, number: u64, vector: VectorIndex, result: VectorResult) {
        match result {
            VectorResult::Done => {}
            VectorResult::Kept => self.kept.push(vector),
            VectorResult::Failed(failure) if self.latest[vector.as_usize()] == number => {
                self.failures.insert(vector, failure);
            }
            VectorResult::Failed(_) => {}
        }
    }
}

/// Whether nothing of a message was sent.
fn is_unsent(error: &TubeError) -> bool {
    matches!(
        error,
        TubeError::Call { .. } | TubeError::TooLong { .. } | TubeError::TooManyDescriptors { .. }
    )
}
