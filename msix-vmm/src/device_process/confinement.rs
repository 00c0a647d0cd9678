//! What a device process may do: a list of system calls, and whatever is not on it ends the process.
//!
//! A list of what is forbidden would be shorter, and would have holes: `open` and `socket` have many names, io_uring does both
//! without a system call of either, and the next kernel has more. What is allowed is what the device does with sockets and
//! eventfds that it has, and what the allocator, the locks and the end of a thread need.

use std::fs::File;
use std::io::{IsTerminal, stdin};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::thread;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use serde::{Deserialize, Serialize};

/// What a device process may call.
const ALLOWED: &[libc::c_long] = &[
    // Its sockets.
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    // Its eventfds. The last of a descriptor's uses closes it.
    libc::SYS_eventfd2,
    libc::SYS_write,
    libc::SYS_preadv2,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_close,
    // The allocator.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    // Locks, and waiting for a trigger in flight.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    // Hash maps.
    libc::SYS_getrandom,
    // The end of a thread, a signal, a panic and the process.
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_writev,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Why a device process is not confined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfinementError {
    #[error("the filter: {0}")]
    Filter(#[from] BackendError),
    #[error("its installation: {0}")]
    Install(#[from] seccompiler::Error),
}

/// From now on every thread of this process is confined, and those that it starts would be, if it could.
pub(super) fn confine() -> Result<(), ConfinementError> {
    let anyhow = ALLOWED.iter().map(|call| (*call, Vec::new()));
    let rules = anyhow.chain([(libc::SYS_fcntl, vec![whether_open()?])]).collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(seccompiler::apply_filter_all_threads(&BpfProgram::try_from(filter)?)?)
}

/// A question that a build with debug assertions asks before it closes a descriptor. It changes nothing.
fn whether_open() -> Result<SeccompRule, BackendError> {
    const COMMAND: u8 = 1;
    let question = SeccompCondition::new(
        COMMAND,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        libc::F_GETFD as u64,
    )?;
    SeccompRule::new(vec![question])
}

/// Something that a device process must not do, and that works where nobody forbids it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Forbidden {
    Open,
    Socket,
    Socketpair,
    Ioctl,
    Clone,
}

impl Forbidden {
    pub(crate) const ALL: [Self; 5] =
        [Self::Open, Self::Socket, Self::Socketpair, Self::Ioctl, Self::Clone];

    /// Does it.
    pub(super) fn attempt(self) {
        match self {
            Self::Open => drop(File::open("/")),
            Self::Socket => drop(UdpSocket::bind("127.0.0.1:0")),
            Self::Socketpair => drop(UnixDatagram::pair()),
            // The only question that this asks is an ioctl.
            Self::Ioctl => drop(stdin().is_terminal().then_some(())),
            Self::Clone => drop(thread::Builder::new().spawn(|| ())),
        }
    }
}
