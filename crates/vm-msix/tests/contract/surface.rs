//! The public surface: names, threads, and pointers to backends.

use std::sync::Arc;
use std::{fmt, io};

use crate::support::guest::{bring_up, function, message, pending};
use crate::support::host::{AnyBackend, Wire};
use crate::support::spy::{Call, Spy};
use vm_msix::test_utils::{GuestDriver, MockBackend};
use vm_msix::{IntoBackend, MsiBackend, MsixConfig, MsixError, MsixObserver, SignalMode};
use vm_msix::{Signal, Trigger, VectorCount, VectorIndex};

fn is_send_and_sync<T: Send + Sync>() {}

/// For every backend and observer, checked when this is compiled.
fn of_any<B: MsiBackend, O: MsixObserver>() {
    is_send_and_sync::<MsixConfig<B, O>>();
    is_send_and_sync::<Trigger<B, O>>();
}

#[test]
fn msix_config_and_trigger_are_send_and_sync_with_any_backend() {
    of_any::<MockBackend, ()>();
    of_any::<&MockBackend, Arc<()>>();
    of_any::<Box<MockBackend>, &()>();
    of_any::<Arc<MockBackend>, vm_msix::Counters>();
    of_any::<AnyBackend, ()>();
    is_send_and_sync::<MsixError>();
}

#[test]
fn triggering_takes_a_shared_reference() {
    fn shared<B: MsiBackend>(msix: &MsixConfig<B>) -> Signal {
        msix.trigger(0).unwrap()
    }
    assert_eq!(shared(&function(1, MockBackend::new(1).unwrap())), Signal::Latched);
}

/// Uses every method of the backend, and says which calls arrived at the end.
fn use_all<B: MsiBackend>(backend: B, spy: &Spy<MockBackend>) {
    spy.take_calls();
    let mut msix = function(2, backend);
    spy.inner().fail_late(0, vm_msix::test_utils::Failure::Exhausted);
    bring_up(&mut msix);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(spy.inner().take_sent(), [(0, message(0))]);
    msix.flush().unwrap();
    msix.reset();
    msix.trigger(1).unwrap();
    assert!(pending(&msix, 1));
    assert!(msix.retract(1).unwrap());
    let calls = spy.take_calls();
    for call in [
        Call::SetRoutes(vec![
            (0, crate::support::guest::open(0).1),
            crate::support::guest::open(1),
        ]),
        Call::LateEvents,
        Call::Flush,
        Call::Signal(1),
        Call::ClearLatch(1),
        Call::ClearLatches,
        Call::Release,
    ] {
        assert!(calls.contains(&call), "{call:?} did not arrive: {calls:?}");
    }
}

#[test]
fn pointers_forward_every_method_of_a_backend() {
    let spy = Arc::new(Spy::new(MockBackend::new(2).unwrap()));
    use_all(&*spy, &spy);
    use_all(Arc::clone(&spy), &spy);
    use_all(Box::new(&*spy), &spy);
    use_all(Arc::clone(&spy) as AnyBackend, &spy);
}

#[derive(Debug)]
struct Nothing;

impl IntoBackend for Nothing {
    type Backend = MockBackend;
    type Error = io::Error;

    fn into_backend(self, vectors: VectorCount) -> Result<MockBackend, io::Error> {
        Err(io::Error::other(format!("no delivery for {} vectors", vectors.get())))
    }
}

#[test]
fn a_source_that_has_no_backend_says_why() {
    let error = MsixConfig::new(3, Nothing, 0, "nic").map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "no interrupt delivery for nic: no delivery for 3 vectors");
}

#[test]
fn a_closure_is_a_sender() {
    let mode = SignalMode::new(|_: VectorIndex, _| Err::<(), _>(fmt::Error));
    let mut msix = function(1, mode);
    bring_up(&mut msix);
    assert!(matches!(msix.trigger(0), Err(MsixError::Trigger { .. })));
}

#[test]
fn the_driver_of_the_test_utils_brings_a_function_up() {
    let wire = Arc::<Wire>::default();
    let mut msix = function(3, wire.signal_mode());
    let mut driver = GuestDriver::new(&mut msix);
    driver.bring_up(&[message(0), message(1)]);
    driver.mask(1);
    assert!(driver.is_masked(1) && driver.is_masked(2) && !driver.is_masked(0));
    msix.trigger(1).unwrap();
    let mut driver = GuestDriver::new(&mut msix);
    assert!(driver.is_pending(1));
    driver.change_affinity(1, message(7));
    assert!(!driver.is_pending(1));
    assert_eq!(wire.take_sent(), [(1, message(7))]);
}

#[test]
fn debug_says_which_function_it_is() {
    let msix = function(3, MockBackend::new(3).unwrap());
    let text = format!("{msix:?}");
    assert!(text.contains("disk0") && text.contains("vectors: 3"), "{text}");
}
