//! For tests of those who build on this crate: a backend that records and fails on demand, and a driver as a
//! guest would write it.

mod driver;
mod mock;

pub use driver::{GuestDriver, RegisterAccess};
pub use mock::{Failure, MockBackend, MockError};
