//! What the tests of this crate share.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod endless;
pub(crate) mod format;
pub(crate) mod fuzz;
pub(crate) mod gate;
pub(crate) mod guest;
pub(crate) mod host;
pub(crate) mod moves;
pub(crate) mod observing;
pub(crate) mod ops;
pub(crate) mod oracle;
pub(crate) mod rig;
pub(crate) mod shrink;
pub(crate) mod spy;
