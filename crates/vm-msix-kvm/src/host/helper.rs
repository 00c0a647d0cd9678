//! Threads that borrow what they work on.

use std::io;
use std::thread::{Builder, Scope};

/// Starts a thread that lives as long as its scope.
pub(crate) fn spawn_helper<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    help: impl FnOnce() + Send + 'scope,
) -> io::Result<()> {
    Builder::new().name(name.into()).spawn_scoped(scope, help).map(drop)
}
