//! The control path: routes, and eventfds that come, go and change.

use std::sync::Arc;

use vm_msix::{MsiMessage, Route, RouteEvent, VectorIndex};

use super::{Attachment, Counter, Enlist, State, failure};
use crate::delivery::Target;
use crate::error::KvmError;
use crate::eventfd::Notifier;
use crate::function::Function;
use crate::late::Events;

impl State {
    /// Gives the vector this route. It is closed altogether first.
    pub(crate) fn set_route(
        &mut self,
        function: &Function,
        route: Route,
        counter: Counter,
        events: &mut Events,
    ) -> Enlist {
        if let Err(error) = self.close(function) {
            events.push((self.vector, RouteEvent::StillOpen(error)));
        } else if self.holders == 0 {
            function.set_latch(self.vector, route, events);
        } else if let Route::Open(message) = route {
            self.open(function, message, counter, events);
        }
        self.enlist()
    }

    /// Opens what is closed.
    fn open(
        &mut self,
        function: &Function,
        message: MsiMessage,
        counter: Counter,
        events: &mut Events,
    ) {
        if counter == Counter::Unknown {
            self.move_to_latch(function);
        }
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

    /// Gives a withdrawn eventfd to another vector, whose latch says what it is now: whoever leaves next must find that.
    pub(crate) fn move_to(&mut self, function: &Function, vector: VectorIndex) {
        self.vector = vector;
        self.route = match self.holders {
            0 => Route::Closed,
            _ => function.signals.route(vector),
        };
    }

    /// Attaches a withdrawn eventfd to its vector, which may be another one now.
    pub(crate) fn attach_withdrawn(&mut self, function: &Function) -> Enlist {
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
        let enlist = self.set_route(function, self.route, Counter::Unknown, &mut events);
        function.late.extend(events);
        enlist
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
