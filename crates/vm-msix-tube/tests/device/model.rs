//! A function in a device process beside a model of it: what was signalled, and what a guest may see of that.
//!
//! The model knows signals, mask bits and deliveries. It knows nothing of eventfds, requests or failures.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use vm_msix::test_utils::GuestDriver;
use vm_msix::{MsiMessage, MsixConfig};
use vm_msix_tube::{Quota, Server, Tube, TubeBackend, TubeIrqfd};

use super::support::vmm::{Delivery, Faults, Vmm};
use super::support::{fds, message};

/// The function, the VMM behind it, and the model.
pub(crate) struct Model {
    pub(crate) vmm: Arc<Vmm>,
    pub(crate) msix: MsixConfig<TubeBackend>,
    enabled: bool,
    function_masked: bool,
    vectors: Vec<Vector>,
    guards: Vec<Guard>,
    rounds: u16,
    _server: Server,
}

#[derive(Clone, Copy)]
struct Vector {
    masked: bool,
    message: MsiMessage,
    /// A signal that nobody has seen yet.
    waits: bool,
}

/// Somebody who writes a vector's eventfd.
struct Guard {
    irqfd: TubeIrqfd,
    vector: u16,
}

impl Model {
    pub(crate) fn new(vectors: u16, faults: Faults, seed: u64) -> Self {
        let vmm = Vmm::failing(vectors, faults, seed);
        let server = Server::spawn().unwrap();
        let (here, there) = Tube::pair().unwrap();
        server.serve(here, Delivery(Arc::clone(&vmm)), Quota { vectors }, |_| {}).unwrap();
        let msix = MsixConfig::new(vectors, there, 0, "model").unwrap();
        let vector = Vector { masked: true, message: MsiMessage::default(), waits: false };
        Self {
            vmm,
            msix,
            enabled: false,
            function_masked: false,
            vectors: vec![vector; usize::from(vectors)],
            guards: Vec::new(),
            rounds: 0,
            _server: server,
        }
    }

    fn guest(&mut self) -> GuestDriver<&mut MsixConfig<TubeBackend>> {
        GuestDriver::new(&mut self.msix)
    }

    pub(crate) fn set_control(&mut self, enabled: bool, function_masked: bool) {
        (self.enabled, self.function_masked) = (enabled, function_masked);
        match (enabled, function_masked) {
            (true, true) => self.guest().enable_under_mask(),
            (true, false) => {
                self.guest().enable();
                self.guest().unmask_function();
            }
            (false, true) => {
                self.guest().disable();
                self.guest().mask_function();
            }
            (false, false) => {
                self.guest().disable();
                self.guest().unmask_function();
            }
        }
    }

    pub(crate) fn mask(&mut self, vector: u16) {
        self.vectors[usize::from(vector)].masked = true;
        self.guest().mask(vector);
    }

    pub(crate) fn unmask(&mut self, vector: u16) {
        self.vectors[usize::from(vector)].masked = false;
        self.guest().unmask(vector);
    }

    /// Gives a vector a message that it never had.
    pub(crate) fn program(&mut self, vector: u16) {
        self.mask(vector);
        self.rounds += 1;
        let message = message(vector, self.rounds);
        self.vectors[usize::from(vector)].message = message;
        self.guest().program(vector, message);
    }

    pub(crate) fn trigger(&mut self, vector: u16) {
        self.vectors[usize::from(vector)].waits = true;
        self.msix.trigger(vector).unwrap();
    }

    pub(crate) fn retract(&mut self, vector: u16) {
        let had = self.msix.retract(vector).unwrap();
        if !self.is_open(vector) {
            assert_eq!(had, self.vectors[usize::from(vector)].waits, "vector {vector}");
        }
        // What was handed over is on its way.
        if had {
            self.vectors[usize::from(vector)].waits = false;
        }
    }

    /// Somebody outside writes the vector's eventfd from now on.
    pub(crate) fn take_guard(&mut self, vector: u16) {
        let irqfd = self.msix.get_irqfd(usize::from(vector)).unwrap();
        self.guards.push(Guard { irqfd, vector });
    }

    /// The same with an eventfd of theirs, which the VMM may not want. Whoever had the one before has nothing.
    pub(crate) fn adopt(&mut self, vector: u16, eventfd: OwnedFd) {
        if let Ok(irqfd) = self.msix.adopt_irqfd(usize::from(vector), eventfd) {
            self.guards.retain(|guard| guard.vector != vector);
            self.guards.push(Guard { irqfd, vector });
        }
    }

    pub(crate) fn drop_guard(&mut self, which: usize) {
        if !self.guards.is_empty() {
            self.guards.swap_remove(which % self.guards.len());
        }
    }

    /// Somebody outside signals.
    pub(crate) fn write_guard(&mut self, which: usize) {
        if self.guards.is_empty() {
            return;
        }
        let guard = &self.guards[which % self.guards.len()];
        self.vectors[usize::from(guard.vector)].waits = true;
        fds::signal(&guard.irqfd.as_fd());
    }

    pub(crate) fn swap(&mut self, a: u16, b: u16) {
        if self.msix.swap_irqfds(a.into(), b.into()).is_err() {
            return;
        }
        for guard in &mut self.guards {
            guard.vector = match guard.vector {
                vector if vector == a => b,
                vector if vector == b => a,
                vector => vector,
            };
        }
    }

    pub(crate) fn reset(&mut self) {
        (self.enabled, self.function_masked) = (false, false);
        self.msix.reset();
        for vector in &mut self.vectors {
            *vector = Vector { masked: true, message: MsiMessage::default(), waits: false };
        }
    }

    fn is_open(&self, vector: u16) -> bool {
        self.enabled && !self.function_masked && !self.vectors[usize::from(vector)].masked
    }

    /// What the VMM delivers now was waited for, is of an open vector, and has its message.
    pub(crate) fn deliver(&mut self) {
        for (vector, message) in self.vmm.deliver() {
            assert!(self.is_open(vector), "vector {vector} was delivered closed");
            let slot = &mut self.vectors[usize::from(vector)];
            assert!(slot.waits, "vector {vector} was delivered, and nobody signalled");
            assert_eq!(slot.message, message, "vector {vector}");
            slot.waits = false;
        }
    }

    /// Closed vectors show what waits, and nothing else.
    pub(crate) fn check_pending(&mut self) {
        for vector in 0..self.msix.num_vectors() {
            if self.is_open(vector) {
                continue;
            }
            let waits = self.vectors[usize::from(vector)].waits;
            assert_eq!(self.guest().is_pending(vector), waits, "vector {vector}");
        }
    }

    /// Without a failure any more, everything arrives.
    pub(crate) fn settle(&mut self) {
        self.vmm.set_faults(Faults::default());
        self.set_control(true, false);
        for vector in 0..self.msix.num_vectors() {
            self.program(vector);
            self.unmask(vector);
        }
        self.msix.flush().unwrap();
        self.deliver();
        let waiting = self.vectors.iter().enumerate().filter(|(_, vector)| vector.waits);
        let waiting: BTreeMap<_, _> =
            waiting.map(|(index, vector)| (index, vector.message)).collect();
        assert!(waiting.is_empty(), "lost: {waiting:?}");
    }
}
