//! The registers of a function together, and what they ask for.

use crate::control::MessageControl;
use crate::route::{Route, desired};
use crate::table::{Table, TableEntry};
use crate::vector::{VectorCount, VectorIndex};

/// Everything that the routes depend on.
#[derive(Debug)]
pub(crate) struct Registers {
    pub(crate) control: MessageControl,
    pub(crate) bus_master: bool,
    /// The VMM has stopped the function in order to save it. Not a register, but it decides with them.
    pub(crate) paused: bool,
    pub(crate) table: Table,
}

impl Registers {
    /// As after reset, bus mastering allowed.
    pub(crate) fn new(vectors: VectorCount) -> Self {
        Self {
            control: MessageControl::default(),
            bus_master: true,
            paused: false,
            table: Table::new(vectors),
        }
    }

    /// Back to reset values; bus mastering and a pause are not MSI-X's to reset.
    pub(crate) fn reset(&mut self) {
        self.control = MessageControl::default();
        self.table.load(core::iter::repeat(TableEntry::RESET));
    }

    /// The route that a vector should have; closed if there is no such vector.
    #[inline]
    pub(crate) fn desired(&self, vector: VectorIndex) -> Route {
        self.table.get(vector.as_usize()).map_or(Route::Closed, |entry| self.route_of(entry))
    }

    /// The routes that all vectors should have, in order.
    #[inline]
    pub(crate) fn desired_routes(&self) -> impl Iterator<Item = Route> {
        self.table.iter().map(|entry| self.route_of(entry))
    }

    #[inline]
    fn route_of(&self, entry: &TableEntry) -> Route {
        desired(self.control, self.bus_master && !self.paused, entry)
    }
}
