//! `get_irqfd`, `get_msi_socket` and `AsRawFd`, on a backend that has descriptors.

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
    match msix.get_irqfd(2) {
        Err(error @ MsixError::Irqfd { .. }) => {
            assert_eq!(
                error.to_string(),
                "vector 2 could not be put on a descriptor: told to fail"
            );
        }
        other => panic!("{other:?}"),
    }
    for vector in [3, 2048, 65_536, usize::MAX] {
        match msix.get_irqfd(vector) {
            Err(MsixError::VectorOutOfRange { vector: at, vectors: 3 }) => assert_eq!(at, vector),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn pointers_to_a_backend_with_descriptors_have_them_too() {
    fn uses<B: IrqfdBackend + AsRawFd>(backend: B, fd: RawFd) {
        let msix: MsixConfig<B> = MsixConfig::new(2, backend, 0, "nic").unwrap();
        assert_eq!(msix.get_msi_socket(), fd);
        msix.get_irqfd(0).unwrap();
        assert!(msix.get_irqfd(1).is_err());
    }
    let backend = Arc::new(Sockets::new(2));
    let fd = backend.as_raw_fd();
    uses(Arc::clone(&backend), fd);
    let backend = Box::new(Sockets::new(2));
    let fd = backend.as_raw_fd();
    uses(backend, fd);
}
