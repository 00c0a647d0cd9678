//! `get_irqfd`, `adopt_irqfd`, `swap_irqfds`, `get_msi_socket` and `AsRawFd`, on a backend that has descriptors.

use std::fmt::Debug;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, Weak};

use crate::support::guest::function;
use vm_msix::test_utils::{MockBackend, MockError};
use vm_msix::{IrqfdBackend, MsiBackend, MsixConfig, MsixError, Route, RouteEvent, Signal};
use vm_msix::{VectorCount, VectorIndex};

/// The mock with a socket, and a descriptor for each vector but the last.
struct Sockets {
    mock: MockBackend,
    socket: UnixDatagram,
    lent: Mutex<Vec<Weak<OwnedFd>>>,
}

impl Sockets {
    fn new(vectors: u16) -> Self {
        Self {
            mock: MockBackend::new(vectors).unwrap(),
            socket: UnixDatagram::unbound().unwrap(),
            lent: Mutex::new((1..vectors).map(|_| Weak::new()).collect()),
        }
    }
}

impl AsRawFd for Sockets {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl IrqfdBackend for Sockets {
    type Irqfd = Arc<OwnedFd>;

    fn irqfd(&self, vector: VectorIndex) -> Result<Arc<OwnedFd>, MockError> {
        let mut lent = self.lent.lock().unwrap();
        let slot = lent.get_mut(vector.as_usize()).ok_or(MockError)?;
        if let Some(irqfd) = slot.upgrade() {
            return Ok(irqfd);
        }
        let irqfd = Arc::new(OwnedFd::from(UnixDatagram::unbound().unwrap()));
        *slot = Arc::downgrade(&irqfd);
        Ok(irqfd)
    }

    fn adopt_irqfd(
        &self,
        vector: VectorIndex,
        eventfd: OwnedFd,
    ) -> Result<Arc<OwnedFd>, MockError> {
        let mut lent = self.lent.lock().unwrap();
        let slot = lent.get_mut(vector.as_usize()).ok_or(MockError)?;
        let irqfd = Arc::new(eventfd);
        *slot = Arc::downgrade(&irqfd);
        Ok(irqfd)
    }

    fn swap_irqfds(&self, a: VectorIndex, b: VectorIndex) -> Result<(), MockError> {
        let mut lent = self.lent.lock().unwrap();
        let last = a.as_usize().max(b.as_usize());
        if last >= lent.len() {
            return Err(MockError);
        }
        lent.swap(a.as_usize(), b.as_usize());
        Ok(())
    }
}

impl MsiBackend for Sockets {
    type Error = MockError;

    fn vectors(&self) -> VectorCount {
        self.mock.vectors()
    }

    fn set_routes(
        &self,
        changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<MockError>),
    ) {
        self.mock.set_routes(changes, report);
    }

    fn late_events(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<MockError>)) {
        self.mock.late_events(report);
    }

    fn flush(&self) {
        self.mock.flush();
    }

    fn signal(&self, vector: VectorIndex) -> Result<Signal, MockError> {
        self.mock.signal(vector)
    }

    fn latched(&self, qword: usize) -> u64 {
        self.mock.latched(qword)
    }

    fn clear_latch(&self, vector: VectorIndex) -> bool {
        self.mock.clear_latch(vector)
    }

    fn clear_latches(&self, cleared: &mut dyn FnMut(VectorIndex)) {
        self.mock.clear_latches(cleared);
    }

    fn release(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<Self::Error>)) {
        self.mock.release(report);
    }
}

#[test]
fn the_msi_socket_is_the_backends() {
    let backend = Sockets::new(2);
    let fd = backend.socket.as_raw_fd();
    let msix = function(2, backend);
    assert_eq!(msix.get_msi_socket(), fd);
    assert_eq!(msix.as_raw_fd(), fd);
}

#[test]
fn get_irqfd_puts_a_vector_on_its_descriptor_while_somebody_keeps_it() {
    let msix = function(3, Sockets::new(3));
    let [first, again, other] = [0, 0, 1].map(|vector| msix.get_irqfd(vector).unwrap());
    assert_eq!(first.as_fd().as_raw_fd(), again.as_fd().as_raw_fd());
    assert_ne!(first.as_fd().as_raw_fd(), other.as_fd().as_raw_fd());
    let lent = |vector: usize| msix.backend().lent.lock().unwrap()[vector].strong_count();
    assert_eq!((lent(0), lent(1)), (2, 1));
    drop((first, other));
    assert_eq!((lent(0), lent(1)), (1, 0));
}

#[test]
fn get_irqfd_says_why_there_is_none() {
    let msix = function(3, Sockets::new(3));
    expect_irqfd_error(msix.get_irqfd(2), 2);
    for vector in OUT_OF_THREE {
        expect_out_of_three(msix.get_irqfd(vector), vector);
    }
}

const OUT_OF_THREE: [usize; 4] = [3, 2048, 65_536, usize::MAX];

#[track_caller]
fn expect_out_of_three<T: Debug>(answer: Result<T, MsixError>, vector: usize) {
    match answer {
        Err(MsixError::VectorOutOfRange { vector: at, vectors: 3 }) => assert_eq!(at, vector),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn expect_irqfd_error<T: Debug>(answer: Result<T, MsixError>, vector: u16) {
    match answer {
        Err(error @ MsixError::Irqfd { .. }) => assert_eq!(
            error.to_string(),
            format!("vector {vector} could not be put on a descriptor: told to fail")
        ),
        other => panic!("{other:?}"),
    }
}

/// A descriptor that the caller has already.
fn brought() -> OwnedFd {
    UnixDatagram::unbound().unwrap().into()
}

#[test]
fn adopt_irqfd_puts_a_vector_on_the_callers_descriptor() {
    let msix = function(3, Sockets::new(3));
    let others = [0, 1].map(|vector| msix.get_irqfd(vector).unwrap());
    let (ours, number) = numbered(brought());
    let adopted = msix.adopt_irqfd(1, ours).unwrap();
    assert_eq!(adopted.as_raw_fd(), number);
    assert_eq!(msix.get_irqfd(1).unwrap().as_raw_fd(), number);
    assert_eq!(msix.get_irqfd(0).unwrap().as_raw_fd(), others[0].as_raw_fd());
}

fn numbered(fd: OwnedFd) -> (OwnedFd, RawFd) {
    let number = fd.as_raw_fd();
    (fd, number)
}

#[test]
fn adopt_irqfd_says_why_it_could_not() {
    let msix = function(3, Sockets::new(3));
    expect_irqfd_error(msix.adopt_irqfd(2, brought()), 2);
    for vector in OUT_OF_THREE {
        expect_out_of_three(msix.adopt_irqfd(vector, brought()), vector);
    }
}

#[test]
fn swap_irqfds_exchanges_the_descriptors_of_two_vectors() {
    let msix = function(4, Sockets::new(4));
    let numbers = || [0, 1, 2].map(|vector| msix.get_irqfd(vector).unwrap());
    let before = numbers();
    msix.swap_irqfds(0, 2).unwrap();
    let after = numbers();
    assert!(after.iter().zip([2, 1, 0]).all(|(fd, at)| Arc::ptr_eq(fd, &before[at])));
}

#[test]
fn swap_irqfds_says_why_it_could_not() {
    let msix = function(3, Sockets::new(3));
    expect_irqfd_error(msix.swap_irqfds(0, 2), 0);
    expect_irqfd_error(msix.swap_irqfds(2, 1), 2);
    for vector in OUT_OF_THREE {
        expect_out_of_three(msix.swap_irqfds(0, vector), vector);
        expect_out_of_three(msix.swap_irqfds(vector, 0), vector);
    }
}

#[test]
fn pointers_to_a_backend_with_descriptors_have_them_too() {
    fn uses<B: IrqfdBackend<Irqfd = Arc<OwnedFd>> + AsRawFd>(backend: B, fd: RawFd) {
        let msix: MsixConfig<B> = MsixConfig::new(3, backend, 0, "nic").unwrap();
        assert_eq!(msix.get_msi_socket(), fd);
        let [first, second] = [0, 1].map(|vector| msix.get_irqfd(vector).unwrap());
        msix.swap_irqfds(0, 1).unwrap();
        assert!(Arc::ptr_eq(&msix.get_irqfd(0).unwrap(), &second));
        assert!(Arc::ptr_eq(&msix.get_irqfd(1).unwrap(), &first));
        let (ours, number) = numbered(brought());
        assert_eq!(msix.adopt_irqfd(0, ours).unwrap().as_raw_fd(), number);
        assert!(msix.get_irqfd(2).is_err());
        assert!(msix.swap_irqfds(0, 2).is_err());
        assert!(msix.adopt_irqfd(2, brought()).is_err());
    }
    let backend = Arc::new(Sockets::new(3));
    let fd = backend.as_raw_fd();
    uses(Arc::clone(&backend), fd);
    let backend = Box::new(Sockets::new(3));
    let fd = backend.as_raw_fd();
    uses(backend, fd);
}
