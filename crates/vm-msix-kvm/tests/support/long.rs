//! Counts for every change, and counts for the deep check.

/// Repetitions: few, or with `VM_MSIX_LONG=1` many.
pub(crate) fn times(few: usize, many: usize) -> usize {
    if std::env::var("VM_MSIX_LONG").is_ok_and(|value| value == "1") { many } else { few }
}

/// Lets the process have so many descriptors; false, with a visible line, where it may not.
pub(crate) fn allow_descriptors(count: u64) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a limit of ours.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    if limit.rlim_cur < count {
        limit.rlim_cur = count;
        limit.rlim_max = limit.rlim_max.max(count);
        // SAFETY: as above.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
            super::open::skipped(&format!("the process may not have {count} descriptors"));
            return false;
        }
    }
    true
}
