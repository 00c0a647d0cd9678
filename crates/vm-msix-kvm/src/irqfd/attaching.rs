//! How an eventfd is attached and detached: the steps of the control path, and what the committer and the poller do.

use vm_msix::{MsiMessage, Route, RouteEvent};

use super::{Attachment, Enlist, State, Ticket, failure};
use crate::delivery::Target;
use crate::error::KvmError;
use crate::function::Function;
use crate::late::Events;
use crate::poller::Token;
use crate::route_table::{Gsi, MsiRoute};

/// What the committer and the poller do.
impl State {
    /// Takes it off the queue, with what must be in the routing table before the holder of this ticket is attached; `None` if
    /// it waits for nothing any more.
    pub(crate) fn call(&mut self, function: &Function) -> Option<(Ticket, (Gsi, MsiRoute))> {
        self.enlisted = false;
        match self.attachment {
            Attachment::Queued(ticket, gsi, message) => {
                let requester = function.delivery().requester;
                Some((ticket, (gsi, MsiRoute { message, requester })))
            }
            _ => None,
        }
    }

    /// Attaches the holder of a ticket, after the commit; or closes the vector, if it failed.
    pub(crate) fn finish(
        &mut self,
        function: &Function,
        ticket: Ticket,
        committed: Result<(), KvmError>,
    ) {
        let Attachment::Queued(queued, gsi, message) = self.attachment else { return };
        if queued != ticket {
            return;
        }
        self.attachment = Attachment::Nobody;
        let mut events = Events::new();
        let attached = committed.and_then(|()| {
            self.committed = Some(message);
            self.assign(function, gsi, message)
        });
        match attached {
            Ok(()) if function.signals.route(self.vector) == self.route => {}
            Ok(()) => self.open_latch(function, &mut events),
            Err(error) => self.fail(function, error),
        }
        function.late.extend(events);
    }

    /// Passes on what came into a polled eventfd.
    pub(crate) fn serve(&mut self, function: &Function, token: Token) {
        if self.attachment != Attachment::Polled(token) || !self.notifier.drain() {
            return;
        }
        self.pass_on(function);
    }
}

/// The steps.
impl State {
    /// Lets nobody take what comes. When it returns, no interrupt of the eventfd comes any more.
    pub(super) fn detach(&mut self, function: &Function) -> Result<(), KvmError> {
        match self.attachment {
            Attachment::Nobody | Attachment::Queued(..) => {}
            // KVM takes what is in the counter with it: that has been injected.
            Attachment::Kvm(gsi, _) => {
                function.delivery().vm.deassign_irqfd(&self.notifier, gsi)?;
            }
            Attachment::Polled(token) => function.committer.stop_polling(token, &self.notifier),
            Attachment::Elsewhere(target) => {
                if self.notifier.drain() {
                    function.delivery().lose(target);
                }
            }
        }
        self.attachment = Attachment::Nobody;
        Ok(())
    }

    /// Moves what a detached eventfd keeps to the latch, where it collapses with what is there, or is sent.
    pub(super) fn move_to_latch(&mut self, function: &Function) {
        if self.notifier.drain() {
            self.pass_on(function);
        }
    }

    /// Signals the latch. What cannot be sent is put back: the vector closes, and its latch keeps it.
    pub(super) fn pass_on(&mut self, function: &Function) {
        let Err(error) = function.signal(self.vector) else { return };
        // A polled or detached eventfd closes without KVM, which alone could fail.
        let _ = self.close(function);
        let _ = function.signal(self.vector);
        // Its opening found the message good, and the next one looks again.
        function.late.extend(vec![(self.vector, RouteEvent::Exhausted(error))]);
    }

    /// Lets what comes go where the message leads, or queues it if that must be committed first.
    pub(super) fn attach(
        &mut self,
        function: &Function,
        message: MsiMessage,
    ) -> Result<(), KvmError> {
        match function.delivery().target(message)? {
            Target::Apic(translated) => match self.gsi(function)? {
                Some(gsi) => self.attach_to_kvm(function, gsi, translated),
                None => self.attach_to_poller(function),
            },
            target => {
                self.attachment = Attachment::Elsewhere(target);
                Ok(())
            }
        }
    }

    /// The GSI; `None` if there is none to be had and the poller takes its place.
    pub(super) fn gsi(&mut self, function: &Function) -> Result<Option<Gsi>, KvmError> {
        if self.gsi.is_none() {
            self.gsi = match function.committer.table().allocate() {
                Err(KvmError::GsisExhausted { .. }) if function.committer.defers() => None,
                allocated => Some(allocated?),
            };
        }
        Ok(self.gsi)
    }

    /// At once if the table has the route, for an irqfd without one loses what comes; else when it has been committed.
    fn attach_to_kvm(
        &mut self,
        function: &Function,
        gsi: Gsi,
        message: MsiMessage,
    ) -> Result<(), KvmError> {
        if self.committed == Some(message) {
            return self.assign(function, gsi, message);
        }
        // Until the ticket is called the table may have this or that.
        self.committed = None;
        self.last_ticket = Ticket(self.last_ticket.0 + 1);
        self.attachment = Attachment::Queued(self.last_ticket, gsi, message);
        Ok(())
    }

    pub(super) fn enlist(&mut self) -> Enlist {
        if self.is_queued() && !std::mem::replace(&mut self.enlisted, true) {
            Enlist::Yes
        } else {
            Enlist::No
        }
    }

    fn assign(
        &mut self,
        function: &Function,
        gsi: Gsi,
        message: MsiMessage,
    ) -> Result<(), KvmError> {
        function.delivery().vm.assign_irqfd(&self.notifier, gsi)?;
        self.attachment = Attachment::Kvm(gsi, message);
        Ok(())
    }

    fn attach_to_poller(&mut self, function: &Function) -> Result<(), KvmError> {
        let token = function.committer.start_polling(function, self.vector, &self.notifier)?;
        self.attachment = Attachment::Polled(token);
        Ok(())
    }

    /// Closes a vector of which nobody takes what comes into the eventfd, and keeps the reason.
    pub(super) fn fail(&mut self, function: &Function, error: KvmError) {
        function.close_latch(self.vector);
        self.route = Route::Closed;
        function.late.extend(vec![(self.vector, failure(error))]);
    }

    /// Opens the latch in memory, which sends what it keeps. If that fails, the vector is closed for everybody.
    pub(super) fn open_latch(&mut self, function: &Function, events: &mut Events) {
        let mut outcomes = Events::new();
        function.set_latch(self.vector, self.route, &mut outcomes);
        for (vector, outcome) in outcomes {
            if matches!(outcome, RouteEvent::Delivered) {
                events.push((vector, outcome));
                continue;
            }
            self.route = Route::Closed;
            let detached = self.detach(function);
            events.push((vector, detached.map_or_else(RouteEvent::StillOpen, |()| outcome)));
        }
    }
}
