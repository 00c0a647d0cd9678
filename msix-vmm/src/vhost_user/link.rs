//! Whether the backend is there, and what the driver was told when it went.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use vm_msix::MsiBackend;

use super::bell::Bells;
use super::error::Fault;
use crate::device::lock;
use crate::report::say;
use crate::virtio::Notifier;

/// The connection, as all see it who may end it.
pub(super) struct Link<B: MsiBackend> {
    pub(super) notifier: Notifier<B>,
    socket: UnixStream,
    bells: Arc<[Bells]>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// There is no backend any more.
    lost: bool,
    /// The driver is ready, and is to be told.
    started: bool,
    /// It has been told, and nothing is served before a reset.
    needs_reset: bool,
}

impl<B: MsiBackend> Link<B> {
    pub(super) fn new(notifier: Notifier<B>, socket: UnixStream, bells: Arc<[Bells]>) -> Self {
        Self { notifier, socket, bells, state: Mutex::default() }
    }

    /// Gives the backend up. Whoever waits for it wakes.
    pub(super) fn lose(&self, fault: &Fault) {
        let mut state = lock(&self.state);
        if !std::mem::replace(&mut state.lost, true) {
            say(format_args!("msix-vmm: vhost-user: {fault}; the device needs a reset\n"));
            self.disconnect();
        }
        self.tell(&mut state);
    }

    /// Ends the connection without a word.
    pub(super) fn end(&self) {
        lock(&self.state).lost = true;
        self.disconnect();
    }

    pub(super) fn is_lost(&self) -> bool {
        lock(&self.state).lost
    }

    /// The driver is ready. If there is no backend, it learns of it now.
    pub(super) fn start(&self) {
        let mut state = lock(&self.state);
        state.started = true;
        self.tell(&mut state);
    }

    /// The driver is not ready.
    pub(super) fn reset(&self) {
        let mut state = lock(&self.state);
        (state.started, state.needs_reset) = (false, false);
    }

    pub(super) fn needs_reset(&self) -> bool {
        lock(&self.state).needs_reset
    }

    /// A driver that is not ready yet is told when it is (2.1.2).
    fn tell(&self, state: &mut State) {
        if state.lost && state.started && !std::mem::replace(&mut state.needs_reset, true) {
            self.notifier.config_changed();
        }
    }

    fn disconnect(&self) {
        // It may be closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
        // A kick that waits because the backend made it can go on.
        for bells in self.bells.iter() {
            bells.kick.silence();
        }
    }
}
