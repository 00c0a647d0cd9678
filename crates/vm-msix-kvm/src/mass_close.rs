//! Closing many vectors at once.

use vm_msix::{Route, VectorIndex};

use crate::function::{Function, Irqfds};

pub(crate) fn close_bound(
    _function: &Function,
    _irqfds: &Irqfds,
    _changes: &[(VectorIndex, Route)],
) {
}
