//! The seam of INTx: what a function needs of its pin, and what the pin asks its function.
//!
//! INTx is level-triggered: a function holds its pin up as long as it has a cause. Who carries the level to the guest cannot watch
//! it, only ask: so a function [raises](Intx::raise) when a cause appears, and is [asked](IntxCause::is_raised) whether one
//! is left each time the guest has acknowledged.

/// The INTx pin of a function.
pub(crate) trait Intx: Send + Sync {
    /// Raises the pin. It falls when the guest has acknowledged the interrupt; then the function's [`IntxCause`] is asked, and
    /// the pin rises again if there still is one.
    fn raise(&self);
}

/// Whether a function still holds its pin up.
pub(crate) trait IntxCause: Send + Sync {
    /// Asked after each acknowledgement, on a thread of its own.
    fn is_raised(&self) -> bool;
}
