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
    /// It is in the committer's queue, for this ticket or an older one: however often a guest changes its mind, it is
    /// there once.
    enlisted: bool,
}

/// Whether a vector must be put into the committer's queue.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enlist {
    Yes,
    No,
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
            enlisted: false,
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
    /// Gives the vector this route. It is closed altogether first.
    pub(crate) fn set_route(
        &mut self,
        function: &Function,
        route: Route,
        events: &mut Events,
    ) -> Enlist {
        if let Err(error) = self.close(function) {
            events.push((self.vector, RouteEvent::StillOpen(error)));
        } else if self.holders == 0 {
            function.set_latch(self.vector, route, events);
        } else if let Route::Open(message) = route {
            self.open(function, message, events);
        }
        self.enlist()
    }

    /// Opens what is closed.
    fn open(&mut self, function: &Function, message: MsiMessage, events: &mut Events) {
        self.move_to_latch(function);
        if let Err(error) = self.attach(function, message) {
            events.push((self.vector, failure(error)));
            return;
        }
        self.route = Route::Open(message);
        // KVM takes the message by KVM_SIGNAL_MSI already. Where the commit's outcome is known at once, it is waited for.
        if !self.is_queued() || function.committer.defers() {
            self.open_latch(function, events);
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
    pub(crate) fn attach_as_is(&mut self, function: &Function) -> Result<Enlist, KvmError> {
        self.route = function.signals.route(self.vector);
        self.gsi(function)?;
        if let Route::Open(message) = self.route {
            self.attach(function, message)?;
        }
        Ok(self.enlist())
    }

    /// Whether attaching would find what it needs.
    pub(crate) fn expect_to_attach(&mut self, function: &Function) -> Result<(), KvmError> {
        self.gsi(function)?;
        match function.signals.route(self.vector) {
            Route::Open(message) => function.delivery().target(message).map(drop),
            Route::Closed => Ok(()),
        }
    }

    /// Moves a withdrawn eventfd to a vector, which may be the one where it was.
    pub(crate) fn move_to(&mut self, function: &Function, vector: VectorIndex) -> Enlist {
        self.vector = vector;
        if self.holders == 0 || !self.is_nobodys() {
            return Enlist::No;
        }
        self.attach_or_close(function)
    }

    /// The same where there is nobody to be told at once: a vector that cannot be attached is closed, and the failure kept.
    pub(crate) fn attach_or_close(&mut self, function: &Function) -> Enlist {
        self.attach_as_is(function).unwrap_or_else(|error| {
            self.fail(function, error);
            Enlist::No
        })
    }

    /// Takes the eventfd out of the vector, which is in signal mode then; what waits in the counter goes to the latch.
    pub(crate) fn withdraw(&mut self, function: &Function) -> Result<(), KvmError> {
        self.detach(function)?;
        self.move_to_latch(function);
        // It may have been queued.
        if self.route != Route::Closed {
            self.reopen_latch(function, self.route);
        }
        if self.holders == 0 {
            // From here on the vector's route is the latch's alone, whatever becomes of this eventfd.
            self.route = Route::Closed;
        }
        Ok(())
    }

    /// Gives the latch in memory this route, if it has another.
    pub(crate) fn reopen_latch(&mut self, function: &Function, route: Route) {
        self.route = route;
        if function.signals.route(self.vector) != route {
            let mut events = Events::new();
            self.open_latch(function, &mut events);
            function.late.extend(events);
        }
    }

    /// Puts another eventfd in the place of one that is nobody's.
    pub(crate) fn replace_notifier(&mut self, notifier: Arc<Notifier>) {
        self.notifier = notifier;
        // Attaching it waits for the committer, and whoever brought it hears if it cannot be.
        self.committed = None;
    }

    /// Follows a translation that has come to another mind.
    pub(crate) fn translate_again(&mut self, function: &Function) -> Enlist {
        let Route::Open(message) = self.route else { return Enlist::No };
        if function.delivery().target(message).is_ok_and(|target| self.leads_to(target)) {
            return Enlist::No;
        }
        let mut events = Events::new();
        let enlist = self.set_route(function, self.route, &mut events);
        function.late.extend(events);
        enlist
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

    /// Whether it waits for a commit.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self.attachment, Attachment::Queued(..))
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

    /// Moves what a detached eventfd keeps to the latch, where it collapses with what is there, or is sent.
    fn move_to_latch(&mut self, function: &Function) {
        if self.notifier.drain() {
            self.pass_on(function);
        }
    }

    /// Signals the latch. What cannot be sent is put back: the vector closes, and its latch keeps it.
    fn pass_on(&mut self, function: &Function) {
        let Err(error) = function.signal(self.vector) else { return };
        // A polled or detached eventfd closes without KVM, which alone could fail.
        let _ = self.close(function);
        let _ = function.signal(self.vector);
        // Its opening found the message good, and the next one looks again.
        function.late.extend(vec![(self.vector, RouteEvent::Exhausted(error))]);
    }

    /// Lets what comes go where the message leads, or queues it if that must be committed first.
    fn attach(&mut self, function: &Function, message: MsiMessage) -> Result<(), KvmError> {
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

    fn enlist(&mut self) -> Enlist {
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
