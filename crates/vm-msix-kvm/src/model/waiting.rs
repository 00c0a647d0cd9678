//! Who waits in the kernel, and who wakes them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io;
use rustix::time::Timespec;
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use vm_msix::Relax;

use crate::poller::Patience;

shuttle::lazy_static! {
    /// The thread that waits for eventfds: one at most in a schedule.
    static ref POLLING: Sleeper = Sleeper::default();
    static ref FUTEX: Sleeper = Sleeper::default();
}

#[derive(Default)]
struct Sleeper {
    asleep: Mutex<bool>,
    changed: Condvar,
}

impl Sleeper {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Falls asleep, and sleeps until woken.
    fn sleep<'a>(&self, mut asleep: MutexGuard<'a, bool>) -> MutexGuard<'a, bool> {
        *asleep = true;
        self.changed.notify_all();
        while *asleep {
            asleep = self.changed.wait(asleep).unwrap_or_else(PoisonError::into_inner);
        }
        asleep
    }

    fn wake(&self) {
        *self.lock() = false;
        self.changed.notify_all();
    }
}

/// Takes an eventfd into the set. Who waits is woken if there is something in it.
pub(crate) fn listen(epoll: &OwnedFd, eventfd: impl AsFd, token: u64) -> io::Result<()> {
    epoll::add(epoll, eventfd, EventData::new_u64(token), EventFlags::IN)?;
    wake();
    Ok(())
}

/// What has come; waits for something to come first if told to.
pub(crate) fn wait(epoll: &OwnedFd, events: &mut Vec<Event>, patience: Patience) {
    let mut asleep = POLLING.lock();
    loop {
        let looked = epoll::wait(epoll, spare_capacity(events), Some(&Timespec::default()));
        looked.expect("epoll takes a look");
        if !events.is_empty() || patience != Patience::Forever {
            return;
        }
        asleep = POLLING.sleep(asleep);
    }
}

/// Adds one to an eventfd that nobody but epoll listens to.
pub(crate) fn kick(eventfd: impl AsFd) {
    super::scheduling_point();
    let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
    wake();
}

/// Lets the thread that waits for eventfds look again.
pub(crate) fn wake() {
    POLLING.wake();
}

/// Waits until the thread that waits for eventfds finds nothing to do.
pub fn until_asleep() {
    let mut asleep = POLLING.lock();
    while !*asleep {
        asleep = POLLING.changed.wait(asleep).unwrap_or_else(PoisonError::into_inner);
    }
}

/// How a close waits: asleep at once, so that what it waits for must wake it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Futex;

impl Relax for Futex {
    fn spins(&self) -> u32 {
        0
    }

    fn park(&self, word: &AtomicU32, value: u32) {
        let mut asleep = FUTEX.lock();
        // Relaxed: who wakes changes the word before it takes the lock.
        while word.load(Ordering::Relaxed) == value {
            asleep = FUTEX.changed.wait(asleep).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn unpark(&self, _word: &AtomicU32) {
        drop(FUTEX.lock());
        FUTEX.changed.notify_all();
    }
}
