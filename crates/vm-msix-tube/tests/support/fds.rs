//! The descriptors of this process.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

use super::until;

/// As many as any test needs.
pub(crate) const MANY: u64 = 16 * 1024;

/// What every open descriptor is of.
pub(crate) fn open() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter_map(|path| {
            let target = fs::read_link(&path).ok()?.display().to_string();
            // The one that lists them.
            let is_list = target.ends_with("/fd");
            (!is_list).then(|| (path.display().to_string(), target))
        })
        .collect()
}

/// How many there are.
pub(crate) fn count() -> usize {
    open().len()
}

/// Waits until there are no more than there were: of a test before this one, some may have been on their way out.
#[track_caller]
pub(crate) fn expect(before: usize) {
    until(&format!("{before} descriptors"), || count() <= before);
}

/// Lets the process have so many, and no more.
pub(crate) fn set_limit(count: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a limit of ours.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    limit.rlim_cur = count;
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0, "{count} descriptors");
}

/// An eventfd as a vector has it.
pub(crate) fn new() -> OwnedFd {
    with(EventfdFlags::NONBLOCK)
}

/// An eventfd of another kind.
pub(crate) fn with(flags: EventfdFlags) -> OwnedFd {
    eventfd(0, flags | EventfdFlags::CLOEXEC).unwrap()
}

/// Signals.
pub(crate) fn signal(eventfd: &impl AsFd) {
    match write(eventfd, &1_u64.to_ne_bytes()) {
        Ok(8) | Err(Errno::AGAIN) => {}
        other => panic!("write to an eventfd: {other:?}"),
    }
}

/// Takes the count; 0 if there is none, or if it is no eventfd.
pub(crate) fn take(eventfd: &impl AsFd) -> u64 {
    let mut count = [0; 8];
    match read(eventfd, &mut count) {
        Ok(8) => u64::from_ne_bytes(count),
        _ => 0,
    }
}

/// So many that no other fits in, until this is dropped.
pub(crate) struct Exhausted(Vec<OwnedFd>);

/// From now on the process may have no more.
pub(crate) fn exhaust() -> Exhausted {
    set_limit(512);
    let mut taken = vec![new()];
    while let Ok(another) = taken[0].try_clone() {
        taken.push(another);
    }
    Exhausted(taken)
}

impl Exhausted {
    /// But for so many.
    pub(crate) fn but_for(mut self, free: usize) -> Self {
        self.0.truncate(self.0.len() - free);
        self
    }
}

impl Drop for Exhausted {
    fn drop(&mut self) {
        self.0.clear();
        set_limit(MANY);
    }
}
