//! How a scenario ends.

use std::fmt;

use super::device_side::ActionError;
use crate::machine::MachineError;

/// Why a scenario failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The machine gave up.
    #[error("machine: {0}")]
    Machine(#[from] MachineError),
    /// The device did not do what it was asked.
    #[error(transparent)]
    Device(#[from] ActionError),
    /// Something was not as it must be.
    #[error("{0}")]
    Seen(String),
}

/// One claim of a scenario.
pub(crate) type Verdict = Result<(), Failure>;

/// Fails unless what was seen is what must be.
pub(crate) fn equal<T: PartialEq + fmt::Debug>(
    what: impl fmt::Display,
    seen: T,
    wanted: T,
) -> Verdict {
    holds(seen == wanted, || format!("{what}: {seen:?}, must be {wanted:?}"))
}

/// Fails unless something is so.
pub(crate) fn holds(so: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if so { Ok(()) } else { Err(Failure::Seen(otherwise())) }
}
