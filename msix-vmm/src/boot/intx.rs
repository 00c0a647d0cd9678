//! INTx on KVM: a pin is an irqfd on the IOAPIC's pin, with a second eventfd that tells of acknowledgements.
//!
//! A write to the irqfd holds the level up. When the guest has handled the interrupt and says so (EOI), KVM lets the level fall and
//! writes the second eventfd. One thread listens to those of all functions, asks each function whether it still has a cause, and if so
//! raises again: that is a level. Several functions may share an IOAPIC pin; each is asked for itself.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;

use kvm_ioctls::VmFd;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::error::{BootError, lacks, refused};
use crate::intx::{Intx, IntxCause};

/// A function's pin.
pub(super) struct Pin {
    gsi: u32,
    level: EventFd,
    acknowledged: EventFd,
    cause: OnceLock<Weak<dyn IntxCause>>,
    raised: AtomicU64,
}

impl Pin {
    /// A pin that leads to `gsi`.
    pub(super) fn new(vm: &VmFd, gsi: u32) -> Result<Arc<Self>, BootError> {
        let eventfd = || EventFd::new(EFD_NONBLOCK).map_err(lacks("an eventfd"));
        let (level, acknowledged) = (eventfd()?, eventfd()?);
        vm.register_irqfd_with_resample(&level, &acknowledged, gsi)
            .map_err(refused("KVM_IRQFD with resampling"))?;
        let (cause, raised) = (OnceLock::new(), AtomicU64::new(0));
        Ok(Arc::new(Self { gsi, level, acknowledged, cause, raised }))
    }

    /// Whom to ask from now on. Until then nobody has a cause.
    pub(super) fn ask(&self, cause: Weak<dyn IntxCause>) {
        // A pin has one function.
        let _ = self.cause.set(cause);
    }

    /// Takes it off the IOAPIC, whose pin falls; what was written to it before has got there.
    pub(super) fn close(&self, vm: &VmFd) -> Result<(), BootError> {
        vm.unregister_irqfd(&self.level, self.gsi).map_err(refused("KVM_IRQFD"))
    }

    /// How often it was raised.
    pub(super) fn raised(&self) -> u64 {
        self.raised.load(Ordering::Relaxed)
    }

    /// The guest has acknowledged.
    fn resample(&self) {
        let _ = self.acknowledged.read();
        let cause = self.cause.get().and_then(Weak::upgrade);
        if cause.is_some_and(|cause| cause.is_raised()) {
            self.raise();
        }
    }
}

impl Intx for Pin {
    fn raise(&self) {
        self.raised.fetch_add(1, Ordering::Relaxed);
        // Full is up.
        let _ = self.level.write(1);
    }
}

/// Listens to all pins, on a thread that lasts as long as the program.
pub(super) fn listen(pins: Vec<Arc<Pin>>) -> Result<(), BootError> {
    let epoll = Epoll::new().map_err(lacks("epoll"))?;
    for (index, pin) in pins.iter().enumerate() {
        let event = EpollEvent::new(EventSet::IN, index as u64);
        epoll
            .ctl(ControlOperation::Add, pin.acknowledged.as_raw_fd(), event)
            .map_err(lacks("epoll"))?;
    }
    let listen = move || {
        let mut events = vec![EpollEvent::default(); pins.len().max(1)];
        loop {
            match epoll.wait(-1, &mut events) {
                Ok(ready) => {
                    events[..ready].iter().for_each(|event| pins[event.data() as usize].resample())
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("epoll: {error}"),
            }
        }
    };
    thread::Builder::new().name("intx".into()).spawn(listen).map(drop).map_err(lacks("a thread"))
}
