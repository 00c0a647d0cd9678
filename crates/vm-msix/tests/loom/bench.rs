//! What the models stand on: a latch with a checked send, and a futex.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as Tally, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use loom::thread::{self, JoinHandle};
use vm_msix::atomic::{AtomicU32, Ordering};
use vm_msix::latch::{Latch, Opened};
use vm_msix::{MsiMessage, Relax, Signal};

/// Two messages of which no word is the same.
pub(crate) const FIRST: MsiMessage = MsiMessage::new(0x1_fee0_1000, 0x11);
pub(crate) const SECOND: MsiMessage = MsiMessage::new(0x2_fee0_2000, 0x22);

/// A plain cell that every send reads, and that is written whenever the vector is closed.
///
/// loom panics when the two race, which is when a send is not over although the close is.
pub(crate) struct Witness(UnsafeCell<()>);

// SAFETY: there is no value in it. Accesses are reported to loom and nothing is dereferenced.
unsafe impl Sync for Witness {}

impl Witness {
    fn read(&self) {
        self.0.with(|_| ());
    }

    fn write(&self) {
        self.0.with_mut(|_| ());
    }
}

/// What happened to a vector, in the order of this execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A close has returned.
    Closed,
    /// An open to this message is about to begin.
    Opening(MsiMessage),
    /// A message is being sent.
    Sent(MsiMessage),
}

/// The far end of the sends.
///
/// The log has a lock of std's: loom runs one thread at a time and does not know it, so it
/// blocks nobody and orders nothing in the model.
pub(crate) struct Wire {
    witness: Witness,
    events: std::sync::Mutex<Vec<Event>>,
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self { witness: Witness(UnsafeCell::new(())), events: std::sync::Mutex::default() }
    }

    pub(crate) fn send(&self, message: MsiMessage) {
        self.witness.read();
        self.note(Event::Sent(message));
    }

    /// To be called when a close has returned.
    pub(crate) fn closed(&self) {
        self.witness.write();
        self.note(Event::Closed);
    }

    /// To be called before a vector opens.
    pub(crate) fn opening(&self, message: MsiMessage) {
        self.note(Event::Opening(message));
    }

    /// How many messages were sent. None was, while the vector was closed, nor was any other than the one
    /// it was open to (C4, C5). When it goes from one to the next without a close, the old one may
    /// come until the new one has.
    pub(crate) fn sent_in_order(&self) -> usize {
        let events = self.events.lock().unwrap();
        let (mut old, mut now) = (None, None);
        let mut sent = 0;
        for event in events.iter() {
            match *event {
                Event::Closed => (old, now) = (None, None),
                Event::Opening(message) => (old, now) = (now, Some(message)),
                Event::Sent(message) => {
                    if now == Some(message) {
                        old = None;
                    }
                    assert!(
                        [old, now].contains(&Some(message)),
                        "sent while closed, or torn: {events:x?}"
                    );
                    sent += 1;
                }
            }
        }
        sent
    }

    fn note(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

/// A latch, how it waits, and the wire it sends on.
pub(crate) struct Bench<R> {
    pub(crate) latch: Latch,
    pub(crate) relax: R,
    pub(crate) wire: Wire,
}

impl<R: Relax + 'static> Bench<R> {
    /// With a latch that is closed and empty.
    pub(crate) fn new(relax: R) -> Arc<Self> {
        Arc::new(Self { latch: Latch::new(), relax, wire: Wire::new() })
    }

    /// With a latch that is open to the first message.
    pub(crate) fn open_to_first(relax: R) -> Arc<Self> {
        let bench = Self::new(relax);
        assert_eq!(bench.open(FIRST), Opened::Empty);
        bench
    }

    pub(crate) fn signal(&self) -> Signal {
        let Ok(signal) = self.latch.signal(&self.relax, |message| self.send(message));
        signal
    }

    pub(crate) fn close(&self) {
        self.latch.close(&self.relax);
        self.wire.closed();
    }

    pub(crate) fn open(&self, message: MsiMessage) -> Opened {
        self.wire.opening(message);
        let Ok(opened) = self.latch.open(message, &self.relax, |message| self.send(message));
        opened
    }

    /// A device on a thread of its own, which signals once.
    pub(crate) fn spawn_trigger(self: &Arc<Self>) -> JoinHandle<Signal> {
        let bench = Arc::clone(self);
        thread::spawn(move || bench.signal())
    }

    fn send(&self, message: MsiMessage) -> Result<Signal, Infallible> {
        self.wire.send(message);
        Ok(Signal::Sent)
    }
}

/// How many of these there are.
pub(crate) fn count<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter().filter(|each| *each == one).count()
}

/// A futex: looks at the word and falls asleep in one step, as the kernel does.
pub(crate) struct Futex {
    spins: u32,
    queue: Mutex<()>,
    woken: Condvar,
    wakes: Tally,
}

impl Futex {
    pub(crate) fn new(spins: u32) -> Self {
        Self { spins, queue: Mutex::new(()), woken: Condvar::new(), wakes: Tally::new(0) }
    }

    /// How often somebody was woken, which costs a system call.
    pub(crate) fn wakes(&self) -> u32 {
        self.wakes.load(Relaxed)
    }
}

impl Relax for Futex {
    fn spins(&self) -> u32 {
        self.spins
    }

    fn park(&self, word: &AtomicU32, value: u32) {
        let queue = self.queue.lock().unwrap();
        // Relaxed: a waker changes the word before it takes the lock.
        if word.load(Ordering::Relaxed) == value {
            drop(self.woken.wait(queue).unwrap());
        }
    }

    fn unpark(&self, _word: &AtomicU32) {
        self.wakes.fetch_add(1, Relaxed);
        let _queue = self.queue.lock().unwrap();
        self.woken.notify_all();
    }
}
