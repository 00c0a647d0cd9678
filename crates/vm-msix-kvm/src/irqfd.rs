//! A vector in irqfd mode: an eventfd that KVM listens to while the vector is open (C13).
//!
//! # The state machine
//!
//! ```text
//!              open, its route is in the table                close
//!   Nobody ───────────────────────────────────────▶ Kvm ───────────────▶ Nobody
//!      │                                             ▲
//!      │ open, its route is not       committed      │
//!      ├──────────────────────────▶ Queued ──────────┘    close: Nobody, and the ticket is void
//!      │
//!      │ open, and there is no GSI                            close
//!      ├──────────────────────────▶ Polled ────────────────────────────▶ Nobody
//!      │ open to something that is no APIC                    close
//!      └──────────────────────────▶ Elsewhere ─────────────────────────▶ Nobody
//! ```
//!
//! While it is nobody's, or queued, the counter keeps what comes, and is part of the Pending Bit.
//!
//! The latch in memory opens without waiting for a deferred commit: triggers of this process need no route. If the commit
//! fails, it closes again. In immediate mode, which learns of the failure in time, it opens after the commit.
//!
//! What was queued is finished by whoever committed, if its ticket is still good. A close voids the ticket under the
//! vector's lock, and never waits for the commit.

use std::sync::{Arc, PoisonError};

use vm_msix::{MsiMessage, Route, RouteEvent, VectorIndex};

use crate::delivery::Target;
use crate::error::KvmError;
use crate::eventfd::Notifier;
use crate::function::Function;
use crate::late::Events;
use crate::poller::Token;
use crate::route_table::{Gsi, MsiRoute};
use crate::sys::{Mutex, MutexGuard};

/// A vector that has an eventfd beside its latch in memory.
#[derive(Debug)]
pub(crate) struct IrqfdVector {
    state: Mutex<State>,
}

/// What its lock guards. The lock is held over `KVM_IRQFD`, never over a commit.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) vector: VectorIndex,
    pub(crate) notifier: Arc<Notifier>,
    /// How many have the descriptor. At zero the vector is in signal mode, unless KVM would not let go.
    pub(crate) holders: usize,
    /// What the vector was told to be, and is, or will be when its ticket is called. Withdrawn without a holder, the eventfd has
    /// no say in it any more: closed.
    pub(crate) route: Route,
    /// Kept until the release.
    gsi: Option<Gsi>,
    /// What the table has for the GSI; `None` if that is not certain.
    committed: Option<MsiMessage>,
    attachment: Attachment,
    last_ticket: Ticket,
}

/// Who takes what comes into the eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attachment {
    /// Nobody: the counter keeps it.
    Nobody,
    /// Nobody yet: KVM will, when this route is in the table.
    Queued(Ticket, Gsi, MsiMessage),
    /// KVM, which sends this message.
    Kvm(Gsi, MsiMessage),
    /// The poller, which signals the latch.
    Polled(Token),
    /// Nobody, though the vector is open: it leads to no APIC. What comes has left as a memory write that nobody sees.
    Elsewhere(Target),
}

/// One wish of one vector to be attached. Another wish has another ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl IrqfdVector {
    /// Nobody's, without a holder.
    pub(crate) fn new(vector: VectorIndex, notifier: Notifier) -> Self {
        let state = State {
            vector,
            notifier: Arc::new(notifier),
            holders: 0,
            route: Route::Closed,
            gsi: None,
            committed: None,
            attachment: Attachment::Nobody,
            last_ticket: Ticket(0),
        };
        Self { state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // What a panicking hook left behind is a vector that is attached or not, and says which.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the control path does.
impl State {
    /// Gives the vector this route. It is closed altogether first. Returns a ticket if the route must be committed before
    /// the vector opens.
    pub(crate) fn set_route(
        &mut self,
        function: &Function,
        route: Route,
        events: &mut Events,
    ) -> Option<Ticket> {
        if let Err(error) = self.close(function) {
            events.push((self.vector, RouteEvent::StillOpen(error)));
            return None;
        }
        if self.holders == 0 {
            function.set_latch(self.vector, route, events);
            return None;
        }
        let Route::Open(message) = route else { return None };
        self.move_to_latch(function);
        match self.attach(function, message) {
            Ok(ticket) => {
                self.route = route;
                // KVM takes the message by KVM_SIGNAL_MSI already. Where the commit's outcome is known at once, it is
                // waited for.
                if ticket.is_none() || function.committer.defers() {
                    self.open_latch(function, events);
                }
                ticket
            }
            Err(error) => {
                events.push((self.vector, failure(error)));
                None
            }
        }
    }

    /// Closes for everybody. When it returns, no interrupt of the vector comes any more.
    pub(crate) fn close(&mut self, function: &Function) -> Result<(), KvmError> {
        function.late.forget(self.vector);
        function.close_latch(self.vector);
        self.route = Route::Closed;
        self.detach(function)
    }

    /// Lets the eventfd into a vector that has been in signal mode, and goes on meanwhile.
    ///
    /// A closed vector takes its GSI too, so that whoever asks learns if there is none.
    pub(crate) fn join(&mut self, function: &Function) -> Result<Option<Ticket>, KvmError> {
        self.route = function.signals.route(self.vector);
        self.gsi(function)?;
        match self.route {
            Route::Open(message) => self.attach(function, message),
            Route::Closed => Ok(None),
        }
    }

    /// Whether a join would find what it needs.
    pub(crate) fn expect_to_join(&mut self, function: &Function) -> Result<(), KvmError> {
        self.gsi(function)?;
        match function.signals.route(self.vector) {
            Route::Open(message) => function.delivery().target(message).map(drop),
            Route::Closed => Ok(()),
        }
    }

    /// Moves a withdrawn eventfd to a vector, which may be the one where it was.
    pub(crate) fn move_to(&mut self, function: &Function, vector: VectorIndex) -> Option<Ticket> {
        self.vector = vector;
        if self.holders == 0 || !self.is_nobodys() {
            return None;
        }
        self.join_or_close(function)
    }

    /// The same where there is nobody to be told at once: a vector that cannot be joined is closed, and the failure kept.
    pub(crate) fn join_or_close(&mut self, function: &Function) -> Option<Ticket> {
        self.join(function).unwrap_or_else(|error| {
            self.fail(function, error);
            None
        })
    }

    /// Takes the eventfd out of the vector, which is in signal mode then; what waits in the counter goes to the latch.
    pub(crate) fn withdraw(&mut self, function: &Function) -> Result<(), KvmError> {
        self.detach(function)?;
        self.move_to_latch(function);
        // It may have been queued.
        if self.route != Route::Closed && function.signals.route(self.vector) != self.route {
            let mut events = Events::new();
            self.open_latch(function, &mut events);
            function.late.extend(events);
        }
        if self.holders == 0 {
            // From here on the vector's route is the latch's alone, whatever becomes of this eventfd.
            self.route = Route::Closed;
        }
        Ok(())
    }

    /// Follows a translation that has come to another mind.
    pub(crate) fn translate_again(&mut self, function: &Function) -> Option<Ticket> {
        let Route::Open(message) = self.route else { return None };
        if function.delivery().target(message).is_ok_and(|target| self.leads_to(target)) {
            return None;
        }
        let mut events = Events::new();
        let ticket = self.set_route(function, self.route, &mut events);
        function.late.extend(events);
        ticket
    }

    /// Gives the GSI up, if no irqfd is assigned to it.
    pub(crate) fn take_gsi(&mut self) -> Option<Gsi> {
        match self.attachment {
            Attachment::Kvm(..) => None,
            _ => {
                self.committed = None;
                self.gsi.take()
            }
        }
    }

    /// Whether the counter keeps what comes, and is part of the Pending Bit.
    pub(crate) fn keeps(&self) -> bool {
        matches!(self.attachment, Attachment::Nobody | Attachment::Queued(..))
    }

    /// Takes back what the counter keeps; tells whether there was anything.
    pub(crate) fn take_kept(&self) -> bool {
        self.keeps() && self.notifier.drain()
    }

    /// Whether nobody takes what comes, nor will.
    pub(crate) fn is_nobodys(&self) -> bool {
        self.attachment == Attachment::Nobody
    }

    /// Whether a close is up to KVM.
    pub(crate) fn is_kvms(&self) -> bool {
        matches!(self.attachment, Attachment::Kvm(..))
    }

    /// Whether the poller takes what comes.
    pub(crate) fn is_polled(&self) -> bool {
        matches!(self.attachment, Attachment::Polled(_))
    }

    fn leads_to(&self, target: Target) -> bool {
        match self.attachment {
            Attachment::Nobody => false,
            Attachment::Queued(.., message) | Attachment::Kvm(_, message) => {
                target == Target::Apic(message)
            }
            // Every send is translated.
            Attachment::Polled(_) => true,
            Attachment::Elsewhere(now) => target == now,
        }
    }
}

/// What the committer and the poller do.
impl State {
    /// What must be in the routing table before the holder of this ticket is attached; `None` if the ticket is void.
    pub(crate) fn due(&self, function: &Function, ticket: Ticket) -> Option<(Gsi, MsiRoute)> {
        match self.attachment {
            Attachment::Queued(queued, gsi, message) if queued == ticket => {
                Some((gsi, MsiRoute { message, requester: function.delivery().requester }))
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

    /// Passes on what came into a polled eventfd. What cannot be sent is put back: the vector closes, and its latch keeps it.
    pub(crate) fn serve(&mut self, function: &Function, token: Token) {
        if self.attachment != Attachment::Polled(token) || !self.notifier.drain() {
            return;
        }
        let Err(error) = function.signal(self.vector) else { return };
        // A polled eventfd detaches without KVM, which alone could fail.
        let _ = self.close(function);
        let _ = function.signal(self.vector);
        function.late.extend(vec![(self.vector, RouteEvent::Exhausted(error))]);
    }
}

/// The steps.
impl State {
    /// Lets nobody take what comes. When it returns, no interrupt of the eventfd comes any more.
    fn detach(&mut self, function: &Function) -> Result<(), KvmError> {
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

    /// Moves what a detached eventfd keeps to the latch, where it collapses with what is there.
    fn move_to_latch(&self, function: &Function) {
        if self.notifier.drain() {
            // On a closed latch this cannot fail. An open one has nothing here to be moved, but for a producer
            // that has outlived its guard.
            let _ = function.signal(self.vector);
        }
    }

    /// Lets what comes go where the message leads. Returns a ticket if that must be committed first.
    fn attach(
        &mut self,
        function: &Function,
        message: MsiMessage,
    ) -> Result<Option<Ticket>, KvmError> {
        match function.delivery().target(message)? {
            Target::Apic(translated) => match self.gsi(function)? {
                Some(gsi) => self.attach_to_kvm(function, gsi, translated),
                None => self.attach_to_poller(function).map(|()| None),
            },
            target => {
                self.attachment = Attachment::Elsewhere(target);
                Ok(None)
            }
        }
    }

    /// The GSI; `None` if there is none to be had and the poller takes its place.
    fn gsi(&mut self, function: &Function) -> Result<Option<Gsi>, KvmError> {
        if self.gsi.is_none() {
            self.gsi = match function.committer.table().allocate() {
                Err(KvmError::GsisExhausted { .. }) if function.committer.can_poll() => None,
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
    ) -> Result<Option<Ticket>, KvmError> {
        if self.committed == Some(message) {
            return self.assign(function, gsi, message).map(|()| None);
        }
        // Until the ticket is called the table may have this or that.
        self.committed = None;
        self.last_ticket = Ticket(self.last_ticket.0 + 1);
        self.attachment = Attachment::Queued(self.last_ticket, gsi, message);
        Ok(Some(self.last_ticket))
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
    fn fail(&mut self, function: &Function, error: KvmError) {
        function.close_latch(self.vector);
        self.route = Route::Closed;
        function.late.extend(vec![(self.vector, failure(error))]);
    }

    /// Opens the latch in memory, which sends what it keeps. If that fails, the vector is closed for everybody.
    fn open_latch(&mut self, function: &Function, events: &mut Events) {
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

/// What the core makes of a failure: never again with this message, or another time.
fn failure(error: KvmError) -> RouteEvent<KvmError> {
    if error.is_refusal() { RouteEvent::Refused(error) } else { RouteEvent::Exhausted(error) }
}
