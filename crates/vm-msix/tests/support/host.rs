//! The two ways of delivery that every test of the latch runs on: the mock, and signal mode into a list.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::guest::function;
use super::spy::{Call, Spy};
use vm_msix::test_utils::{MockBackend, MockError};
use vm_msix::{IntoBackend, MessageSender, MsiBackend, MsiMessage, MsixConfig, Route};
use vm_msix::{SignalBackend, SignalMode, VectorCount, VectorIndex};

/// What a sender gives back that fails as it is told.
pub(crate) type MockErrorOr<T> = Result<T, MockError>;

pub(crate) type AnyBackend = Arc<dyn MsiBackend<Error = MockError>>;

/// Where signal mode sends to: a list.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    sent: Mutex<Vec<(u16, MsiMessage)>>,
    failing: AtomicUsize,
    refused: Mutex<Vec<MsiMessage>>,
}

/// A hold on a [`Wire`] that sends.
#[derive(Clone, Debug)]
pub(crate) struct Port(pub(crate) Arc<Wire>);

impl Wire {
    /// The messages sent since this was last asked.
    pub(crate) fn take_sent(&self) -> Vec<(u16, MsiMessage)> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }

    pub(crate) fn fail_next_sends(&self, sends: usize) {
        self.failing.store(sends, Ordering::SeqCst);
    }

    /// Refuses this message from now on.
    pub(crate) fn refuse(&self, message: MsiMessage) {
        self.refused.lock().unwrap().push(message);
    }

    pub(crate) fn signal_mode(self: &Arc<Self>) -> SignalMode<Port> {
        SignalMode::new(Port(Arc::clone(self)))
    }
}

impl MessageSender for Port {
    type Error = MockError;

    fn check(&self, message: MsiMessage) -> Result<(), MockError> {
        if self.0.refused.lock().unwrap().contains(&message) { Err(MockError) } else { Ok(()) }
    }

    fn send(&self, vector: VectorIndex, message: MsiMessage) -> Result<(), MockError> {
        let fail = |left: usize| left.checked_sub(1);
        if self.0.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fail).is_ok() {
            return Err(MockError);
        }
        self.0.sent.lock().unwrap().push((vector.get(), message));
        Ok(())
    }
}

/// One way of delivery, as a test watches it.
#[derive(Debug)]
pub(crate) enum Host {
    Mock(Arc<MockBackend>),
    Signal(Arc<Wire>, Arc<Spy<SignalBackend<Port>>>),
}

impl Host {
    pub(crate) fn mock(vectors: u16) -> Self {
        Self::Mock(Arc::new(MockBackend::new(vectors).unwrap()))
    }

    pub(crate) fn signal(vectors: u16) -> Self {
        let wire = Arc::<Wire>::default();
        let vectors = VectorCount::new(vectors).unwrap();
        let backend = wire.signal_mode().into_backend(vectors).unwrap();
        Self::Signal(wire, Arc::new(Spy::new(backend)))
    }

    pub(crate) fn backend(&self) -> AnyBackend {
        match self {
            Self::Mock(mock) => Arc::clone(mock) as AnyBackend,
            Self::Signal(_, spy) => Arc::clone(spy) as AnyBackend,
        }
    }

    pub(crate) fn take_sent(&self) -> Vec<(u16, MsiMessage)> {
        match self {
            Self::Mock(mock) => mock.take_sent(),
            Self::Signal(wire, _) => wire.take_sent(),
        }
    }

    pub(crate) fn take_batches(&self) -> Vec<Vec<(u16, Route)>> {
        match self {
            Self::Mock(mock) => mock.take_batches(),
            Self::Signal(_, spy) => {
                let batch =
                    |call| if let Call::SetRoutes(batch) = call { Some(batch) } else { None };
                spy.take_calls().into_iter().filter_map(batch).collect()
            }
        }
    }

    pub(crate) fn fail_next_sends(&self, sends: usize) {
        match self {
            Self::Mock(mock) => mock.fail_next_sends(sends),
            Self::Signal(wire, _) => wire.fail_next_sends(sends),
        }
    }
}

/// Runs a test on a new function, on each host.
pub(crate) fn on_each_host(vectors: u16, test: impl Fn(&mut MsixConfig<AnyBackend>, &Host)) {
    for host in [Host::mock(vectors), Host::signal(vectors)] {
        test(&mut function(vectors, host.backend()), &host);
    }
}
