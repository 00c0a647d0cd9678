//! The VMM's thread that serves device processes.
//!
//! It takes one request of each that has sent one, in turn, so that one that floods costs the others no more than a request's time. It
//! waits for none of them: what has come in part is kept for later, and an answer for which there is no room ends the session.
//! When a session ends, however it ends, all that it acquired is given back before anything else is served.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::thread;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber, SubscriberId, SubscriberOps};
use vm_msix::{IntoBackend, IrqfdBackend};

use crate::error::TubeError;
use crate::session::{Quota, Session};
use crate::sys::{
    Builder, EventManager, JoinHandle, Mutex, MutexGuard, RemoteEndpoint, catch_unwind,
    sync_channel,
};
use crate::tube::Tube;
use crate::wire::{Answer, Refusal, Reply, Request, Violation};

/// Serves device processes on a thread of its own. Make one per VM, or one for all.
///
/// Dropping it ends every session, and waits for the thread.
pub struct Server {
    endpoint: RemoteEndpoint<Sessions>,
    sessions: SubscriberId,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What others share with the thread.
#[derive(Debug, Default)]
struct Shared(Mutex<Life>);

#[derive(Debug, Default)]
struct Life {
    sessions: usize,
    stopped: bool,
}

/// Why there is no server, or why it does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// There is no thread to be had.
    #[error("no thread for the server: {0}")]
    Thread(std::io::Error),
    /// The event loop failed.
    #[error("the server's event loop: {0}")]
    Events(event_manager::Error),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// The device process has gone, or closed its end.
    Disconnected,
    /// It is not served: it said what none says, or asked for what it may not have.
    Refused(Refusal),
    /// It does not take its answers.
    Stuck,
    /// The VMM may have no more descriptors, and lost some that it sent.
    OutOfDescriptors,
    /// A hook of the VMM panicked while it was served.
    Panicked,
    /// The server has ended.
    ServerGone,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("the device process has gone"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Stuck => f.write_str("the device process does not take its answers"),
            Self::OutOfDescriptors => f.write_str("the VMM has too many descriptors open"),
            Self::Panicked => f.write_str("a hook of the VMM panicked"),
            Self::ServerGone => f.write_str("the server has ended"),
        }
    }
}

impl Server {
    /// A server that serves nobody yet.
    ///
    /// # Errors
    ///
    /// There is no descriptor or no thread to be had.
    pub fn spawn() -> Result<Self, ServerError> {
        let shared = Arc::new(Shared::default());
        let (started, start) = sync_channel(1);
        let thread = Builder::new()
            .name("msix-tube".into())
            .spawn({
                let shared = Arc::clone(&shared);
                // The loop is the thread's own: sessions never leave it.
                move || match EventManager::new() {
                    Err(error) => drop(started.send(Err(error))),
                    Ok(mut manager) => {
                        let sessions = manager.add_subscriber(Sessions::new(Arc::clone(&shared)));
                        let _ = started.send(Ok((manager.remote_endpoint(), sessions)));
                        while !shared.life().stopped {
                            if manager.run().is_err() {
                                break;
                            }
                        }
                    }
                }
            })
            .map_err(ServerError::Thread)?;
        let gone = Err(event_manager::Error::ChannelRecv);
        let (endpoint, sessions) = start.recv().unwrap_or(gone).map_err(ServerError::Events)?;
        Ok(Self { endpoint, sessions, shared, thread: Some(thread) })
    }

    /// Serves the device process at the other end of a tube, until it goes or says what none says.
    ///
    /// What it does is done by a backend made from `source`, within its quota. When the session has ended, and everything was
    /// given back, `ended` is told why, on the server's thread: a device process can cause that at will, so count, and do
    /// not log without a limit. It serves nobody anew: that would wait for the thread it is on.
    ///
    /// # Errors
    ///
    /// The event loop takes no more.
    pub fn serve<S>(
        &self,
        tube: Tube,
        source: S,
        quota: Quota,
        ended: impl FnOnce(SessionEnd) + Send + 'static,
    ) -> Result<(), ServerError>
    where
        S: IntoBackend<Backend: IrqfdBackend + 'static> + Send + 'static,
    {
        let id = self.sessions;
        let session = move || Connection {
            tube: tube.for_eventfds(quota.vectors.into()),
            service: Some(Box::new(Session::new(source, quota))),
            ended: Some(Box::new(ended)),
        };
        self.endpoint
            .call_blocking(move |manager| {
                // Made here, because a session never leaves the thread.
                let connection = session();
                let socket = connection.tube.as_raw_fd();
                manager.event_ops(id)?.add(Events::new_raw(socket, EventSet::IN))?;
                manager.subscriber_mut(id)?.add(connection);
                Ok(())
            })
            .map_err(ServerError::Events)
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.shared.life().sessions
    }
}

impl Shared {
    // Each of the two is changed in one step, whoever panicked.
    fn life(&self) -> MutexGuard<'_, Life> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.life().stopped = true;
        // The thread looks whether it was stopped whenever it wakes.
        let _ = self.endpoint.kick();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("sessions", &self.sessions()).finish_non_exhaustive()
    }
}

/// A session, whatever delivers for it.
trait Service {
    fn handle(
        &mut self,
        request: Request,
        descriptors: Vec<std::os::fd::OwnedFd>,
    ) -> Result<Reply, Refusal>;

    /// Gives everything back.
    fn end(self: Box<Self>) -> thread::Result<()>;
}

impl<S: IntoBackend<Backend: IrqfdBackend>> Service for Session<S> {
    fn handle(
        &mut self,
        request: Request,
        descriptors: Vec<std::os::fd::OwnedFd>,
    ) -> Result<Reply, Refusal> {
        Session::handle(self, request, descriptors)
    }

    fn end(self: Box<Self>) -> thread::Result<()> {
        Session::end(*self)
    }
}

/// A session and its tube.
struct Connection {
    tube: Tube,
    /// Gone before the tube is, so that a device process which sees the end of the connection knows that it has nothing any more.
    service: Option<Box<dyn Service>>,
    ended: Option<Box<dyn FnOnce(SessionEnd) + Send>>,
}

impl Connection {
    /// Serves one request, if a whole one has come.
    fn serve(&mut self) -> Result<(), SessionEnd> {
        let received = self.tube.try_recv_with::<Request>();
        let Some((request, descriptors)) = received.map_err(|error| self.why(&error))? else {
            return Ok(());
        };
        let Some(service) = &mut self.service else { return Ok(()) };
        let number = request.number;
        let handled = catch_unwind(AssertUnwindSafe(|| service.handle(request, descriptors)));
        let reply = match handled.map_err(|_| SessionEnd::Panicked)? {
            Ok(reply) => reply,
            Err(refusal) => return Err(self.refuse(number, refusal)),
        };
        self.tube.try_send(&reply).map_err(|error| match error {
            TubeError::TimedOut => SessionEnd::Stuck,
            _ => SessionEnd::Disconnected,
        })
    }

    fn why(&self, error: &TubeError) -> SessionEnd {
        match error {
            TubeError::Disconnected | TubeError::Call { .. } => SessionEnd::Disconnected,
            TubeError::DescriptorsLost => SessionEnd::OutOfDescriptors,
            _ => self.refuse(0, Refusal::Violation(Violation::Frame)),
        }
    }

    /// Tells the device process, if it listens.
    fn refuse(&self, number: u64, refusal: Refusal) -> SessionEnd {
        let _ = self.tube.try_send(&Reply { number, answer: Answer::Refused(refusal) });
        SessionEnd::Refused(refusal)
    }

    /// Gives everything back, and tells of it.
    fn end(mut self, reason: SessionEnd) {
        let given_back = self.service.take().map_or(Ok(()), Service::end);
        let reason = if given_back.is_ok() { reason } else { SessionEnd::Panicked };
        self.tube.shut_down();
        if let Some(ended) = self.ended.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| ended(reason)));
        }
        close_elsewhere(self.tube);
    }
}

/// Closes a tube, and what was sent and not taken, on a thread of its own: a socket that lingers, or a file of a file system that is a
/// process's, can make whoever closes it wait for ever.
fn close_elsewhere(tube: Tube) {
    // Where there is no thread to be had, it is closed at once.
    let _ = Builder::new().name("msix-tube-close".into()).spawn(|| drop(tube));
}

/// All sessions, by their sockets.
struct Sessions {
    connections: BTreeMap<RawFd, Connection>,
    shared: Arc<Shared>,
}

impl Sessions {
    fn new(shared: Arc<Shared>) -> Self {
        Self { connections: BTreeMap::new(), shared }
    }

    fn add(&mut self, connection: Connection) {
        self.connections.insert(connection.tube.as_raw_fd(), connection);
        self.note_count();
    }

    fn note_count(&self) {
        self.shared.life().sessions = self.connections.len();
    }
}

impl MutEventSubscriber for Sessions {
    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        let socket = events.fd();
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        let Err(reason) = connection.serve() else { return };
        let _ = ops.remove(Events::empty_raw(socket));
        if let Some(connection) = self.connections.remove(&socket) {
            connection.end(reason);
            self.note_count();
        }
    }

    /// Sockets come one by one.
    fn init(&mut self, _ops: &mut EventOps<'_>) {}
}

impl Drop for Sessions {
    fn drop(&mut self) {
        for (_, connection) in std::mem::take(&mut self.connections) {
            connection.end(SessionEnd::ServerGone);
        }
        self.note_count();
    }
}
