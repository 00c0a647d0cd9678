//! The event loop: event-manager's, which never waits itself, and calls into it from other threads.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use event_manager::{Error, MutEventSubscriber, Result, SubscriberOps};
use shuttle::sync::atomic::AtomicBool;
use shuttle::sync::mpsc::{Receiver, Sender, channel};

use super::waiting::{until, wake};

type Call<S> = Box<dyn FnOnce(&mut dyn SubscriberOps<Subscriber = S>) + Send>;

/// Tells its subscribers of their events, level by level, and then does what other threads ask for.
pub(crate) struct EventManager<S> {
    events: event_manager::EventManager<S>,
    calls: Receiver<Call<S>>,
    endpoint: RemoteEndpoint<S>,
}

/// Where other threads ask.
pub(crate) struct RemoteEndpoint<S> {
    calls: Sender<Call<S>>,
    /// Relaxed, below: shuttle's atomics are all in one order, and the channel carries the calls.
    is_kicked: Arc<AtomicBool>,
}

impl<S: MutEventSubscriber> EventManager<S> {
    pub(crate) fn new() -> Result<Self> {
        let (sender, calls) = channel();
        let endpoint = RemoteEndpoint { calls: sender, is_kicked: Arc::default() };
        Ok(Self { events: event_manager::EventManager::new()?, calls, endpoint })
    }

    pub(crate) fn remote_endpoint(&self) -> RemoteEndpoint<S> {
        let RemoteEndpoint { calls, is_kicked } = &self.endpoint;
        RemoteEndpoint { calls: calls.clone(), is_kicked: Arc::clone(is_kicked) }
    }

    /// Waits for something to do, and does it.
    pub(crate) fn run(&mut self) -> Result<usize> {
        until(|| {
            let dispatched = self.events.run_with_timeout(0);
            let is_kicked = self.endpoint.is_kicked.swap(false, Ordering::Relaxed);
            while is_kicked && let Ok(call) = self.calls.try_recv() {
                call(&mut self.events);
            }
            Some(dispatched).filter(|dispatched| is_kicked || *dispatched != Ok(0))
        })
    }
}

impl<S> Deref for EventManager<S> {
    type Target = event_manager::EventManager<S>;

    fn deref(&self) -> &Self::Target {
        &self.events
    }
}

impl<S> DerefMut for EventManager<S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.events
    }
}

impl<S: MutEventSubscriber> RemoteEndpoint<S> {
    pub(crate) fn call_blocking<O: Send + 'static, E: From<Error> + Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn SubscriberOps<Subscriber = S>) -> std::result::Result<O, E>
        + Send
        + 'static,
    ) -> std::result::Result<O, E> {
        let (sender, result) = channel();
        let call: Call<S> = Box::new(move |manager| drop(sender.send(call(manager))));
        self.calls.send(call).map_err(|_| Error::ChannelSend)?;
        self.kick()?;
        result.recv().map_err(|_| Error::ChannelRecv)?
    }

    pub(crate) fn kick(&self) -> Result<()> {
        self.is_kicked.store(true, Ordering::Relaxed);
        wake();
        Ok(())
    }
}
