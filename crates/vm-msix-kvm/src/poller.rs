//! Eventfds that KVM does not listen to, because there is no GSI for them: the poller does.
//!
//! One epoll instance holds them, and a kick for whoever waits. It is also what a VMM without a thread of ours polls.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{PoisonError, Weak};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags};
use rustix::event::{EventfdFlags, eventfd};
use vm_msix::VectorIndex;

use crate::error::KvmError;
use crate::eventfd::Notifier;
use crate::function::Function;
use crate::sys::{self, Mutex, MutexGuard};

/// How many are looked after before the committer has its turn.
const AT_ONCE: usize = 64;
/// What the kick is called; no vector is.
const KICK: u64 = 0;

/// The eventfds that are polled, and a kick.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    kick: OwnedFd,
    polled: Mutex<Polled>,
}

/// One stay of one eventfd in the poll set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

#[derive(Debug)]
struct Polled {
    last: u64,
    vectors: BTreeMap<u64, (Weak<Function>, VectorIndex)>,
}

impl Poller {
    pub(crate) fn new() -> Result<Self, KvmError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|source| KvmError::call("epoll_create1", source))?;
        let kick = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|source| KvmError::call("eventfd", source))?;
        let poller = Self {
            epoll,
            kick,
            polled: Mutex::new(Polled { last: KICK, vectors: BTreeMap::new() }),
        };
        poller.listen(&poller.kick, KICK)?;
        Ok(poller)
    }

    /// Wakes whoever waits.
    pub(crate) fn kick(&self) {
        sys::kick(&self.kick);
    }

    /// Takes an eventfd into the poll set.
    pub(crate) fn add(
        &self,
        function: Weak<Function>,
        vector: VectorIndex,
        notifier: &Notifier,
    ) -> Result<Token, KvmError> {
        let mut polled = self.polled();
        let token = polled.last + 1;
        self.listen(notifier, token)?;
        polled.last = token;
        polled.vectors.insert(token, (function, vector));
        Ok(Token(token))
    }

    /// Takes it out. The caller has the vector's lock, so nobody is reading it.
    pub(crate) fn remove(&self, token: Token, notifier: &Notifier) {
        let mut polled = self.polled();
        polled.vectors.remove(&token.0);
        // It is in the set.
        let _ = epoll::delete(&self.epoll, notifier);
    }

    /// Passes on what has come, waiting for something to come first if told to.
    pub(crate) fn serve(&self, patience: Patience) {
        let mut events = Vec::with_capacity(AT_ONCE);
        sys::wait(&self.epoll, &mut events, patience);
        for event in events {
            match event.data.u64() {
                KICK => self.drain_kick(),
                token => self.serve_one(token),
            }
        }
    }

    fn serve_one(&self, token: u64) {
        let Some((function, vector)) = self.polled().vectors.get(&token).cloned() else {
            return;
        };
        let Some(function) = function.upgrade() else { return };
        let irqfd = function.irqfds().get(vector).cloned();
        if let Some(irqfd) = irqfd {
            irqfd.lock().serve(&function, Token(token));
        }
    }

    fn drain_kick(&self) {
        // Nothing to read is no harm.
        let _ = rustix::io::read(&self.kick, &mut [0; 8]);
    }

    fn listen(&self, eventfd: impl AsFd, token: u64) -> Result<(), KvmError> {
        sys::listen(&self.epoll, eventfd, token)
            .map_err(|source| KvmError::call("epoll_ctl", source))
    }

    fn polled(&self) -> MutexGuard<'_, Polled> {
        self.polled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait for something to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    For(Duration),
    Forever,
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
