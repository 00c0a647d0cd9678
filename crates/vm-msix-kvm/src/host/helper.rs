//! Threads that borrow what they work on, and threads that outlive what they call.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, Scope};

/// Starts a thread that lives as long as its scope.
pub(crate) fn spawn_helper<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    help: impl FnOnce() + Send + 'scope,
) -> io::Result<()> {
    Builder::new().name(name.into()).spawn_scoped(scope, help).map(drop)
}

/// Goes on if this panics. The panic hook has told of it; what it left behind is whole, as what other threads' panics leave.
pub(crate) fn outlive(work: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(work));
}
