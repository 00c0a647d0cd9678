//! A backend as the transport sees it: what registers say is what the backend is told.
//!
//! Every change ends in [`Remote::sync`], which tells the backend what differs from what it was told before.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;
use vm_msix::IrqfdBackend;

use super::bell::Bells;
use super::error::Fault;
use super::front_end::{Offer, Stopped, Vring};
use super::link::Link;
use super::session::Session;
use super::wiring::{Call, Vector, Wiring};
use crate::device::lock;
use crate::function::SharedMsix;
use crate::virtio::{NO_VECTOR, Notifier, Serve};

/// A backend that serves the queues of a device.
pub(crate) struct Remote<B: IrqfdBackend> {
    msix: SharedMsix<B>,
    memory: GuestMemoryMmap,
    offer: Offer,
    bells: Arc<[Bells]>,
    link: Arc<Link<B>>,
    session: Session<B>,
    wiring: Mutex<Wiring<B::Irqfd>>,
}

impl<B: IrqfdBackend + 'static> Remote<B> {
    pub(super) fn new(
        front_end: super::front_end::FrontEnd,
        offer: Offer,
        memory: GuestMemoryMmap,
        msix: SharedMsix<B>,
        notifier: Notifier<B>,
        limit: Duration,
    ) -> std::io::Result<Self> {
        let bells = Arc::clone(&front_end.bells);
        let link = Arc::new(Link::new(notifier, front_end.socket()?, Arc::clone(&bells)));
        let session = Session::new(front_end, Arc::clone(&link), limit)?;
        let wiring = Mutex::new(Wiring::new(offer.queues));
        Ok(Self { msix, memory, offer, bells, link, session, wiring })
    }

    fn wiring(&self) -> MutexGuard<'_, Wiring<B::Irqfd>> {
        lock(&self.wiring)
    }

    /// Makes the backend do what the registers say.
    fn sync(&self, wiring: &mut Wiring<B::Irqfd>) {
        match (wiring.running, wiring.may_run()) {
            (false, true) => self.start_queues(wiring),
            (true, false) => self.stop_queues(wiring),
            (true, true) => self.redirect(wiring),
            (false, false) => {}
        }
    }

    fn start_queues(&self, wiring: &mut Wiring<B::Irqfd>) {
        let msix_enabled = self.link.notifier.msix_enabled();
        let vrings = wiring.queues.iter_mut().enumerate().filter_map(|(index, wire)| {
            let queue = Queue::try_from(wire.queue.as_ref()?.state()).ok()?;
            wire.called = wire.call(msix_enabled);
            let call = wire.called.eventfd(&self.bells[index]);
            Some(call.map(|call| Vring { index, queue, next: wire.next, call }))
        });
        let vrings: Vec<_> = match vrings.collect() {
            Ok(vrings) => vrings,
            Err(error) => return self.link.lose(&Fault::Host(error)),
        };
        let features = wiring.driver.unwrap_or_default();
        wiring.running =
            self.session.ask(move |front_end| front_end.start(features, &vrings)).is_some();
    }

    /// Stops the queues for a while. What the backend used before is told to the driver.
    fn stop_queues(&self, wiring: &mut Wiring<B::Irqfd>) {
        for Stopped { index, next, called } in self.halt(wiring) {
            wiring.queues[index].next = next;
            if called {
                self.link.notifier.queue_used(index);
            }
        }
    }

    fn halt(&self, wiring: &mut Wiring<B::Irqfd>) -> Vec<Stopped> {
        wiring.running = false;
        self.session.ask(|front_end| front_end.stop()).unwrap_or_default()
    }

    /// Has each queue signalled where it is to be now. What the backend had before is kept until it does not use it any more.
    fn redirect(&self, wiring: &mut Wiring<B::Irqfd>) {
        let msix_enabled = self.link.notifier.msix_enabled();
        for (index, wire) in wiring.queues.iter_mut().enumerate() {
            let call = wire.call(msix_enabled);
            if wire.queue.is_some() && !call.is(&wire.called) && self.redirect_one(index, &call) {
                wire.called = call;
            }
        }
    }

    fn redirect_one(&self, index: usize, call: &Call<B::Irqfd>) -> bool {
        match call.eventfd(&self.bells[index]) {
            Ok(eventfd) => {
                self.session.ask(move |front_end| front_end.set_call(index, &eventfd)).is_some()
            }
            Err(error) => {
                self.link.lose(&Fault::Host(error));
                false
            }
        }
    }
}

impl<B: IrqfdBackend + 'static> Serve<B> for Remote<B> {
    fn features(&self) -> u64 {
        self.offer.features
    }

    fn config(&self) -> &[u8] {
        &self.offer.config
    }

    fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    fn notifier(&self) -> &Notifier<B> {
        &self.link.notifier
    }

    fn needs_reset(&self) -> bool {
        self.link.needs_reset()
    }

    fn kick(&self, queue: usize) {
        if queue < self.offer.queues {
            self.session.kick(queue);
        }
    }

    fn enable(&self, index: usize, queue: Queue) {
        let mut wiring = self.wiring();
        // A driver that is late with it gets it all the same.
        if wiring.running {
            self.stop_queues(&mut wiring);
        }
        wiring.queues[index].queue = Some(queue);
        self.sync(&mut wiring);
    }

    fn start(&self, features: u64) {
        let mut wiring = self.wiring();
        wiring.driver = Some(features);
        self.link.start();
        self.sync(&mut wiring);
    }

    fn reset(&self) {
        let mut wiring = self.wiring();
        if wiring.running {
            self.halt(&mut wiring);
        }
        wiring.reset();
        self.link.reset();
    }

    fn set_bus_master(&self, allowed: bool) {
        let mut wiring = self.wiring();
        wiring.bus_master = allowed;
        self.sync(&mut wiring);
    }

    fn set_queue_vector(&self, queue: usize, number: u16) {
        let mut wiring = self.wiring();
        let Some(wire) = wiring.queues.get_mut(queue) else { return };
        if wire.vector.as_ref().is_some_and(|vector| vector.number == number) {
            return;
        }
        // The function has no such vector, or no descriptor for it.
        let irqfd = lock(&self.msix).get_irqfd(number.into()).ok();
        let number = if irqfd.is_some() { number } else { NO_VECTOR };
        wire.vector = irqfd.map(|irqfd| Vector { number, irqfd: Arc::new(irqfd) });
        self.link.notifier.set_queue_vector(queue, number);
        self.sync(&mut wiring);
    }

    fn msix_changed(&self) {
        self.sync(&mut self.wiring());
    }
}

#[cfg(test)]
impl<B: IrqfdBackend + 'static> Remote<B> {
    /// Waits until the thread has done all that it had to do before.
    pub(super) fn settle(&self) {
        self.session.ask(|_| Ok(())).unwrap();
    }

    pub(super) fn is_lost(&self) -> bool {
        self.link.is_lost()
    }
}
