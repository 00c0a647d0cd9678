//! Who waits in the kernel: until it is as they want it.

use std::sync::PoisonError;

use shuttle::sync::{Condvar, Mutex, MutexGuard};

shuttle::lazy_static! {
    static ref KERNEL: Kernel = Kernel::default();
}

#[derive(Default)]
struct Kernel {
    /// How often something has changed.
    changes: Mutex<u64>,
    changed: Condvar,
}

impl Kernel {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries again after every change, until there is a result.
pub(crate) fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        let seen = *KERNEL.lock();
        if let Some(result) = attempt() {
            return result;
        }
        let mut changes = KERNEL.lock();
        while *changes == seen {
            changes = KERNEL.changed.wait(changes).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Something has changed in the kernel: a message was sent or taken, or, which nobody here sees, a socket was closed.
pub fn wake() {
    *KERNEL.lock() += 1;
    KERNEL.changed.notify_all();
}
