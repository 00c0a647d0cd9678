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
//!
//! # What orders the two latches
//!
//! A signal moves from the counter to the latch in memory with the vector's lock held, and so is every look that a Pending Bit is
//! made of. The counter itself is the kernel's: a write, a read, an assign and a deassign are system calls, each of which
//! takes the eventfd's own lock. So there is no memory ordering to be argued here, and none for loom to weaken: the latch in
//! memory has all of them, and the rest is an order of steps, which shuttle searches.

mod attaching;
mod routes;

use std::sync::{Arc, PoisonError};

use vm_msix::{MsiMessage, Route, RouteEvent, VectorIndex};

use crate::delivery::Target;
use crate::error::KvmError;
use crate::eventfd::Notifier;
use crate::poller::Token;
use crate::route_table::Gsi;
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
    /// What the vector was told to be, and is, or will be when its ticket is called.
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

/// What is known of an eventfd's counter, without its vector's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Nothing.
    Unknown,
    /// It was empty a moment ago. What has come since is a signal of the moment after: it collapses with nothing.
    Empty,
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

/// What is asked of it.
impl State {
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
}

/// What the core makes of a failure: never again with this message, or another time.
fn failure(error: KvmError) -> RouteEvent<KvmError> {
    if error.is_refusal() { RouteEvent::Refused(error) } else { RouteEvent::Exhausted(error) }
}
