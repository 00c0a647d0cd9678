//! What the backend was told last, and what it is to be told next (C2, C11).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;

use crate::backend::RouteEvent;
use crate::route::Route;
use crate::vector::{VectorCount, VectorIndex};

/// Whether vectors that failed for want of a resource get another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// They do: a write of Message Control, or a flush.
    Exhausted,
    /// They do not: any other cause, which a guest could repeat at no cost to itself.
    No,
}

/// The routes that the backend has.
#[derive(Debug)]
pub(crate) struct AppliedRoutes {
    /// What each vector was told last.
    routes: Box<[Told]>,
    /// Vectors that could not be closed, and are told again at every sync; few, or none.
    still_open: BTreeSet<VectorIndex>,
    /// Vectors that failed to open and are not tried again just now; few, or none.
    held: BTreeMap<VectorIndex, Hold>,
}

/// A route, in half the space: a function has one for each vector, and may have 2048.
///
/// The lowest bit of an address is zero in every message (7.7.2.6). Here it says that the vector is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    address_low_or_open: u32,
    address_high: u32,
    data: u32,
}

impl Told {
    const CLOSED: Self = Self { address_low_or_open: 0, address_high: 0, data: 0 };

    #[inline]
    fn of(route: Route) -> Self {
        match route {
            Route::Closed => Self::CLOSED,
            Route::Open(message) => Self {
                address_low_or_open: message.address_low() | 1,
                address_high: message.address_high(),
                data: message.data,
            },
        }
    }
}

/// Why a vector is left closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// This route was refused; another one may work.
    Refused(Told),
    /// There was no room; a retry may find some.
    Exhausted,
}

impl AppliedRoutes {
    /// All closed, as a new backend is.
    pub(crate) fn new(vectors: VectorCount) -> Self {
        Self {
            routes: vec![Told::CLOSED; vectors.as_usize()].into_boxed_slice(),
            still_open: BTreeSet::new(),
            held: BTreeMap::new(),
        }
    }

    /// All closed, as a released backend is.
    pub(crate) fn reset(&mut self) {
        self.routes.fill(Told::CLOSED);
        self.still_open.clear();
        self.held.clear();
    }

    /// Whether there are vectors that must be told again, whatever the sync is for.
    #[inline]
    pub(crate) fn has_still_open(&self) -> bool {
        !self.still_open.is_empty()
    }

    /// The vector has the route that the registers ask for.
    pub(crate) fn is(&self, vector: VectorIndex, desired: Route) -> bool {
        self.routes.get(vector.as_usize()) == Some(&Told::of(desired))
            && !self.still_open.contains(&vector)
    }

    /// Whether the backend is to be told this route; if so, it counts as told.
    #[inline]
    pub(crate) fn take_change(
        &mut self,
        vector: VectorIndex,
        desired: Route,
        retry: Retry,
    ) -> bool {
        // Few vectors fail, in few functions: those that have none look nothing up.
        if !self.held.is_empty() && self.is_held(vector, desired, retry) {
            return false;
        }
        let desired = Told::of(desired);
        let again = !self.still_open.is_empty() && self.still_open.remove(&vector);
        match self.routes.get_mut(vector.as_usize()) {
            Some(applied) if *applied != desired || again => {
                *applied = desired;
                true
            }
            _ => false,
        }
    }

    /// Takes note of what the backend reported about the route it was told last.
    pub(crate) fn note<E>(&mut self, vector: VectorIndex, event: &RouteEvent<E>) {
        let Some(applied) = self.routes.get_mut(vector.as_usize()) else {
            return;
        };
        let hold = match event {
            RouteEvent::Delivered => return,
            RouteEvent::StillOpen(_) => {
                self.still_open.insert(vector);
                self.held.remove(&vector);
                return;
            }
            RouteEvent::Refused(_) => Hold::Refused(*applied),
            RouteEvent::Exhausted(_) => Hold::Exhausted,
        };
        *applied = Told::CLOSED;
        self.still_open.remove(&vector);
        self.held.insert(vector, hold);
    }

    /// Whether a vector stays closed although its registers may ask for more; a hold that has done its
    /// work is lifted.
    #[inline]
    fn is_held(&mut self, vector: VectorIndex, desired: Route, retry: Retry) -> bool {
        let Some(&hold) = self.held.get(&vector) else {
            return false;
        };
        let held = match hold {
            Hold::Refused(told) => told == Told::of(desired),
            Hold::Exhausted => retry == Retry::No,
        };
        if !held {
            self.held.remove(&vector);
        }
        held
    }
}
