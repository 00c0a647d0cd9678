//! A sender that stops in the middle, until it is told to go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::host::MockErrorOr;
use vm_msix::VectorIndex;

/// How far a trigger has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is in the middle of its send.
    Sending,
    Done,
}

/// Sends of vector 0 that stop in the middle and say so.
pub(crate) struct Gate {
    entered: Mutex<Sender<Stage>>,
    go_on: Mutex<Receiver<()>>,
    sent: AtomicBool,
}

pub(crate) fn gate() -> (Arc<Gate>, Receiver<Stage>, Sender<()>) {
    let (entered, has_entered) = channel();
    let (go_on, may_go_on) = channel();
    let gate = Gate {
        entered: Mutex::new(entered),
        go_on: Mutex::new(may_go_on),
        sent: AtomicBool::new(false),
    };
    (Arc::new(gate), has_entered, go_on)
}

impl Gate {
    pub(crate) fn send(&self, vector: VectorIndex) -> MockErrorOr<()> {
        if vector.get() == 0 {
            self.entered.lock().unwrap().send(Stage::Sending).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
            self.sent.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Runs a trigger, and says when it is done: whoever waits for it to be sending does not wait for ever.
    pub(crate) fn run<T>(&self, trigger: impl FnOnce() -> T) -> T {
        let outcome = trigger();
        self.entered.lock().unwrap().send(Stage::Done).unwrap();
        outcome
    }

    pub(crate) fn has_sent(&self) -> bool {
        self.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn forget(&self) {
        self.sent.store(false, Ordering::SeqCst);
    }
}
