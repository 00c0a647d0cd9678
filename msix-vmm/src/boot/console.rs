//! The user's terminal: raw while the guest runs, so that every key is the guest's, but Ctrl-A x, which ends it.
//!
//! It is put back on every way out: when its guard is dropped, and before a panic has its say. Standard input that is no terminal,
//! a file or a pipe, is typed into the guest just so, and its end is nothing to the guest.

use std::io::{IsTerminal, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::end::{End, Ending};
use super::error::{BootError, lacks};
use super::serial::SerialLine;

/// Ctrl-A, which tells that the next key is for the VMM.
const ESCAPE: u8 = 0x01;

/// How many reads may wait for a guest that does not listen.
const TYPED_AHEAD: usize = 1024;

/// How the terminal was. It is here, and in no guard, because whoever panics has no guard.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// The terminal is raw as long as this lives.
pub(super) struct RawTerminal(());

impl RawTerminal {
    /// Makes this raw, if it is a terminal.
    pub(super) fn enter(input: &(impl AsFd + IsTerminal)) -> Result<Self, BootError> {
        if input.is_terminal() {
            let mode = tcgetattr(input).map_err(lacks("the terminal"))?;
            let mut raw = mode.clone();
            raw.make_raw();
            let terminal = input.as_fd().try_clone_to_owned().map_err(lacks("the terminal"))?;
            *before() = Some((terminal, mode));
            put_back_before_panics();
            tcsetattr(input, OptionalActions::Now, &raw).map_err(lacks("the terminal"))?;
        }
        Ok(Self(()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        put_back();
    }
}

fn put_back() {
    if let Some((terminal, mode)) = before().take() {
        // A terminal that is gone is nobody's.
        let _ = tcsetattr(terminal, OptionalActions::Now, &mode);
    }
}

fn put_back_before_panics() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        put_back();
        say(panic);
    }));
}

fn before() -> MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets the signals by which programs are asked to end, end the guest.
pub(super) fn end_by_signals(ending: Ending) -> Result<(), BootError> {
    on_signals(&[SIGHUP, SIGINT, SIGTERM], move |signal| ending.tell(End::Signal(signal)))
}

/// Lets SIGUSR1 save the guest.
pub(super) fn save_by_signal(ending: Ending) -> Result<(), BootError> {
    on_signals(&[SIGUSR1], move |_| ending.tell(End::Snapshot))
}

fn on_signals(signals: &[i32], tell: impl Fn(i32) + Send + 'static) -> Result<(), BootError> {
    let mut signals = Signals::new(signals).map_err(lacks("signals"))?;
    spawn("signals", move || signals.forever().for_each(tell))
}

/// Types input into the guest, on threads that last as long as the program: a read cannot be called off.
///
/// One thread reads and one types, because a guest may not listen for long, or never, and Ctrl-A x is for that too.
pub(super) fn type_input(
    mut input: impl Read + Send + 'static,
    line: Arc<SerialLine>,
    ending: Ending,
) -> Result<(), BootError> {
    let (typed, to_type) = mpsc::sync_channel::<Vec<u8>>(TYPED_AHEAD);
    spawn("typist", move || to_type.iter().for_each(|keys| line.type_in(&keys)))?;
    spawn("stdin", move || {
        let mut keys = Keys::default();
        let mut buffer = [0; 256];
        while let Ok(read @ 1..) = input.read(&mut buffer) {
            let pressed = keys.press(&buffer[..read]);
            // The typist is there for as long as this is.
            let _ = typed.send(pressed.typed);
            if pressed.is_end {
                return ending.tell(End::User);
            }
        }
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), BootError> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop).map_err(lacks("a thread"))
}

/// Finds the keys that are for the VMM among those for the guest.
#[derive(Default)]
struct Keys {
    escaped: bool,
}

/// What keys mean.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pressed {
    typed: Vec<u8>,
    is_end: bool,
}

impl Keys {
    /// Ctrl-A x ends; Ctrl-A Ctrl-A is one Ctrl-A; what else follows a Ctrl-A goes to the guest with it.
    fn press(&mut self, keys: &[u8]) -> Pressed {
        let mut pressed = Pressed::default();
        for key in keys {
            match (std::mem::take(&mut self.escaped), *key) {
                (false, ESCAPE) => self.escaped = true,
                (false, key) => pressed.typed.push(key),
                (true, ESCAPE) => pressed.typed.push(ESCAPE),
                (true, b'x') => {
                    pressed.is_end = true;
                    break;
                }
                (true, key) => pressed.typed.extend([ESCAPE, key]),
            }
        }
        pressed
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;
    use vmm_sys_util::eventfd::EventFd;

    use super::*;

    /// One test, because there is one terminal that is put back.
    #[test]
    fn the_terminal_is_put_back_when_its_guard_goes_and_when_anybody_panics() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let local_modes = || tcgetattr(&terminal).unwrap().local_modes;
        let cooked = local_modes();
        assert!(cooked.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));

        let guard = RawTerminal::enter(&terminal).unwrap();
        assert!(
            !local_modes().intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
        );
        drop(guard);
        assert_eq!(local_modes(), cooked);

        let _guard = RawTerminal::enter(&terminal).unwrap();
        assert_ne!(local_modes(), cooked);
        thread::spawn(|| panic!("as a CPU's thread may")).join().unwrap_err();
        assert_eq!(local_modes(), cooked);
    }

    #[test]
    fn ctrl_a_x_ends_a_guest_that_never_listens() {
        let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let line = Arc::new(SerialLine::new(interrupt, Box::new(io::sink())));
        let (ending, ended) = Ending::channel();
        // Two reads: what the first has typed nobody takes.
        let keys = (&b"hello?\r"[..]).chain(&b"\x01x"[..]);
        type_input(keys, line, ending).unwrap();
        assert_eq!(ended.recv_timeout(Duration::from_secs(60)), Ok(End::User));
    }

    /// What comes of reads, one after the other.
    fn press(reads: &[&str]) -> (String, bool) {
        let mut keys = Keys::default();
        let pressed: Vec<_> = reads.iter().map(|read| keys.press(read.as_bytes())).collect();
        let typed = pressed.iter().flat_map(|pressed| pressed.typed.clone()).collect();
        (String::from_utf8(typed).unwrap(), pressed.iter().any(|pressed| pressed.is_end))
    }

    #[test]
    fn keys_are_the_guests() {
        assert_eq!(press(&["ls\r", "\x03"]), ("ls\r\x03".into(), false));
        assert_eq!(press(&["x"]), ("x".into(), false));
    }

    #[test]
    fn ctrl_a_x_ends_also_in_two_reads() {
        assert_eq!(press(&["ab\x01xcd"]), ("ab".into(), true));
        assert_eq!(press(&["\x01", "x"]), (String::new(), true));
    }

    #[test]
    fn ctrl_a_twice_is_one_and_others_keep_theirs() {
        assert_eq!(press(&["\x01\x01x"]), ("\x01x".into(), false));
        assert_eq!(press(&["\x01d"]), ("\x01d".into(), false));
    }
}
