//! The thread that talks to the backend: it may have to wait for it, and nobody else does for longer than the limit.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use vm_msix::MsiBackend;

use super::bell::Bell;
use super::error::Fault;
use super::front_end::FrontEnd;
use super::link::Link;

type Job = Box<dyn FnOnce(&mut FrontEnd) + Send>;

/// What others have of the thread.
pub(super) struct Session<B: MsiBackend> {
    /// `None` at the end.
    jobs: Option<Sender<Job>>,
    hails: Arc<Hails>,
    link: Arc<Link<B>>,
    limit: Duration,
}

/// How it is called.
struct Hails {
    /// There is something to do. No other process has this one.
    wake: Bell,
    /// A bit for each queue that was kicked.
    kicked: AtomicU64,
}

/// What the thread has.
struct Worker<B: MsiBackend> {
    front_end: FrontEnd,
    jobs: Receiver<Job>,
    hails: Arc<Hails>,
    link: Arc<Link<B>>,
}

/// What has come.
struct Events {
    /// Something from the backend, or its end.
    socket: bool,
    /// The queues for which it has called.
    called: Vec<usize>,
}

/// Does something with a socket on another thread, for no longer than the limit.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    socket: &UnixStream,
    act: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let (answer, answered) = sync_channel(1);
    // Nobody listens any more if it was too late.
    thread::Builder::new().spawn(move || drop(answer.send(act())))?;
    answered.recv_timeout(limit).unwrap_or_else(|_| {
        socket.shutdown(std::net::Shutdown::Both)?;
        Err(Fault::Late)
    })
}

impl<B: MsiBackend + 'static> Session<B> {
    pub(super) fn new(
        front_end: FrontEnd,
        link: Arc<Link<B>>,
        limit: Duration,
    ) -> std::io::Result<Self> {
        let (jobs, received) = channel();
        let hails = Arc::new(Hails { wake: Bell::new()?, kicked: AtomicU64::new(0) });
        let worker = Worker {
            front_end,
            jobs: received,
            hails: Arc::clone(&hails),
            link: Arc::clone(&link),
        };
        // Not joined: a backend can hold it up.
        thread::Builder::new().name("vhost-user".into()).spawn(move || worker.run())?;
        Ok(Self { jobs: Some(jobs), hails, link, limit })
    }

    /// Has the backend asked for something, and waits for the answer. A backend that refuses or is late is lost.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut FrontEnd) -> Result<T, Fault> + Send + 'static,
    ) -> Option<T> {
        if self.link.is_lost() {
            return None;
        }
        let (answer, answered) = sync_channel(1);
        let job: Job = Box::new(move |front_end| drop(answer.send(act(front_end))));
        self.jobs.as_ref()?.send(job).ok()?;
        self.hails.wake.ring();
        let answer = answered.recv_timeout(self.limit).unwrap_or(Err(Fault::Late));
        answer.inspect_err(|fault| self.link.lose(fault)).ok()
    }

    /// Has the backend told that there is something in a queue. Waits for nobody.
    pub(super) fn kick(&self, queue: usize) {
        self.hails.kicked.fetch_or(1 << queue, Ordering::SeqCst);
        self.hails.wake.ring();
    }
}

impl<B: MsiBackend> Drop for Session<B> {
    fn drop(&mut self) {
        self.link.end();
        self.jobs = None;
        self.hails.wake.ring();
    }
}

impl<B: MsiBackend> Worker<B> {
    fn run(mut self) {
        let mut goes_on = true;
        while goes_on {
            let Events { socket, called } = self.wait();
            if socket {
                self.link.lose(&Fault::HungUp);
            }
            self.hails.wake.silence();
            for queue in called {
                self.pass_on(queue);
            }
            goes_on = self.work();
            self.kick();
        }
    }

    fn wait(&self) -> Events {
        let mut polled = vec![PollFd::new(&self.hails.wake, PollFlags::IN)];
        if !self.link.is_lost() {
            polled.push(PollFd::new(&self.front_end, PollFlags::IN));
            let calls = self.front_end.bells.iter().map(|bells| &bells.call);
            polled.extend(calls.map(|call| PollFd::new(call, PollFlags::IN)));
        }
        // A failed poll shows nothing, and comes again.
        let _ = poll(&mut polled, None);
        let has = |polled: &PollFd<'_>| !polled.revents().is_empty();
        let called = polled.iter().skip(2).enumerate().filter(|(_, polled)| has(polled));
        Events {
            socket: polled.get(1).is_some_and(has),
            called: called.map(|(queue, _)| queue).collect(),
        }
    }

    /// Signals for a backend that has no vector to signal by.
    fn pass_on(&self, queue: usize) {
        let called = self.front_end.bells[queue].call.silence();
        if called && self.front_end.is_running(queue) {
            self.link.notifier.queue_used(queue);
        }
    }

    /// Does what it was asked to; tells whether there can be more.
    fn work(&mut self) -> bool {
        loop {
            match self.jobs.try_recv() {
                Ok(job) if !self.link.is_lost() => job(&mut self.front_end),
                // Dropped, and so answered.
                Ok(_) => {}
                Err(error) => return error == TryRecvError::Empty,
            }
        }
    }

    fn kick(&self) {
        let kicked = self.hails.kicked.swap(0, Ordering::SeqCst);
        for queue in (0..self.front_end.bells.len()).filter(|queue| kicked >> queue & 1 != 0) {
            if !self.link.is_lost() {
                self.front_end.kick(queue);
            }
        }
    }
}
