//! Sockets: the kernel's, in which nobody waits.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{
    AddressFamily, Protocol, RecvAncillaryBuffer, RecvFlags, RecvMsg, SendAncillaryBuffer,
    SendFlags, Shutdown, SocketFlags, SocketType,
};

use super::scheduling_point;
use super::waiting::{until, wake};

/// Two ends with as little room as the kernel gives: a few small messages.
pub(crate) fn socketpair(
    domain: AddressFamily,
    kind: SocketType,
    flags: SocketFlags,
    protocol: Option<Protocol>,
) -> Result<(OwnedFd, OwnedFd)> {
    let (one, other) = rustix::net::socketpair(domain, kind, flags, protocol)?;
    set_socket_send_buffer_size(&one, 0)?;
    set_socket_send_buffer_size(&other, 0)?;
    Ok((one, other))
}

pub(crate) fn sendmsg(
    socket: impl AsFd,
    bytes: &[IoSlice<'_>],
    control: &mut SendAncillaryBuffer<'_, '_, '_>,
    flags: SendFlags,
) -> Result<usize> {
    let attempt = || rustix::net::sendmsg(&socket, bytes, control, flags | SendFlags::DONTWAIT);
    patiently(!flags.contains(SendFlags::DONTWAIT), attempt)
}

pub(crate) fn recvmsg(
    socket: impl AsFd,
    bytes: &mut [IoSliceMut<'_>],
    control: &mut RecvAncillaryBuffer<'_>,
    flags: RecvFlags,
) -> Result<RecvMsg> {
    let attempt = || rustix::net::recvmsg(&socket, bytes, control, flags | RecvFlags::DONTWAIT);
    patiently(!flags.contains(RecvFlags::DONTWAIT), attempt)
}

pub(crate) fn shutdown(socket: impl AsFd, how: Shutdown) -> Result<()> {
    scheduling_point();
    let result = rustix::net::shutdown(socket, how);
    wake();
    result
}

fn patiently<T>(waits: bool, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    scheduling_point();
    let result = until(|| Some(attempt()).filter(|result| !waits || !is_early(result)));
    wake();
    result
}

fn is_early<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Errno::AGAIN))
}
