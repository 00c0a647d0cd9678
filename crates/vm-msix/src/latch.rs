//! The latch: one vector's signals, kept or sent, without a lock (C3, C4, C5).
//!
//! # The state machine
//!
//! One word holds everything that must change together:
//!
//! ```text
//!   31     30       29      28 ................ 0
//!  OPEN  LATCHED  WAITER    triggers in flight
//! ```
//!
//! Beside it lies the message. It is written only while OPEN is clear and nothing is in flight, and
//! read only in flight, or by who writes it: the word is its lock, and no reader ever waits.
//!
//! - **signal** looks at OPEN and acts in one read-modify-write. Open: one more in flight, then it
//!   reads the message, sends it, and counts down. Closed: LATCHED is set.
//! - **close** clears OPEN. From that step on no signal goes in flight; those that are, are waited for.
//!   When it returns nothing of this vector is being sent, nor will be.
//! - **open** writes the message and sets OPEN. If it finds LATCHED, the same step takes it away:
//!   the opener sends the latched signal, once. A signal that comes a moment later sees OPEN and sends
//!   for itself.
//!
//! Control (open and close) is one thread's at a time, as register writes are; signals are anyone's.
//! That is why the opener need not count itself in flight: no close can come while it sends; and why a
//! close of a latch that is closed has nothing to do: the close before it has waited.
//!
//! # Why it is correct
//!
//! *Nothing is lost, nothing invented (C3).* OPEN and LATCHED are in one word, so "closed, hence latch"
//! and "latched, hence send on opening" cannot miss each other. A signal that finds LATCHED set
//! collapses into it, and still writes the word: that write is what carries the device's
//! earlier stores to the opener. A mere load would let the opener deliver an interrupt for
//! which the guest finds no cause.
//!
//! *Nothing is sent after a close (C4).* Counting down releases, and the close that sees the count at
//! zero acquires: every send happened before it.
//!
//! *No message is torn (C5).* The same pair orders a reader before the next writer; the opening step,
//! a release that the signal's step acquires, orders the writer before the next reader.
//!
//! *Control goes before whoever latches.* A close releases what control did while the latch was open, and
//! a signal that latches acquires it. The [hints](crate::latches) live on that.
//!
//! # What happens when a send fails
//!
//! A signal's own send: its caller is told. The opener's send of a latched signal: the latch closes
//! again and keeps it, because nobody else would know that it was lost.
//!
//! Each ordering below is as weak as the loom models allow; `ci/latch-mutants` weakens them one
//! by one and shows the model that fails.

use crate::atomic::{AtomicU32, Ordering};
use crate::backend::Signal;
use crate::message::{MsiMessage, join};
use crate::relax::Relax;
use crate::route::Route;

/// Signals send.
const OPEN: u32 = 1 << 31;
/// A signal waits.
const LATCHED: u32 = 1 << 30;
/// A close is parked until the count is zero. It stays set until the next open, and means nothing
/// while nobody is in flight.
const WAITER: u32 = 1 << 29;
/// Triggers in flight. A process cannot have half a billion threads in one function.
const IN_FLIGHT: u32 = WAITER - 1;

/// One vector's latch: see the [module](self) for how it works. New latches are closed and empty.
#[derive(Debug)]
pub struct Latch {
    word: AtomicU32,
    address_low: AtomicU32,
    address_high: AtomicU32,
    data: AtomicU32,
}

/// What opening a latch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing was latched.
    Empty,
    /// The latched signal was sent.
    Delivered,
}

impl Latch {
    /// A closed, empty latch.
    #[expect(clippy::new_without_default, reason = "an array of latches is what has a default use")]
    pub fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            address_low: AtomicU32::new(0),
            address_high: AtomicU32::new(0),
            data: AtomicU32::new(0),
        }
    }

    /// Signals: sends if open, latches if closed. Any thread; waits for nothing but its own send.
    ///
    /// `send` says what became of the message, which is passed on.
    ///
    /// # Errors
    ///
    /// Those of `send`; the signal is not latched then.
    #[inline]
    pub fn signal<E>(
        &self,
        relax: &impl Relax,
        send: impl FnOnce(MsiMessage) -> Result<Signal, E>,
    ) -> Result<Signal, E> {
        // Relaxed: a guess for the exchange below, which checks it.
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let next = if seen & OPEN != 0 { seen + 1 } else { seen | LATCHED };
            // Acquire: going in flight sees the message that opening released.
            // Release: a latched or collapsed signal hands the device's earlier stores to the opener.
            match self.word.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if seen & OPEN != 0 => return self.send_in_flight(relax, send),
                Ok(_) if seen & LATCHED != 0 => return Ok(Signal::Collapsed),
                Ok(_) => return Ok(Signal::Latched),
                Err(actual) => seen = actual,
            }
        }
    }

    /// Closes, and waits for the triggers in flight: no message of this vector is sent after it.
    #[inline]
    pub fn close(&self, relax: &impl Relax) {
        // Relaxed: control alone changes OPEN, and the close that cleared it has waited.
        if self.word.load(Ordering::Relaxed) & OPEN == 0 {
            return;
        }
        // Acquire: if nothing is in flight, every send happened before this.
        // Release: a signal that latches after this sees what control did while it was open.
        let before = self.word.fetch_and(!OPEN, Ordering::AcqRel);
        if before & IN_FLIGHT != 0 {
            self.wait_until_idle(relax);
        }
    }

    /// Opens to a message, closing first if it was open to another; sends what was latched.
    ///
    /// # Errors
    ///
    /// Those of `send`: the latch is closed then and keeps the signal.
    #[inline]
    pub fn open<E>(
        &self,
        message: MsiMessage,
        relax: &impl Relax,
        send: impl FnOnce(MsiMessage) -> Result<Signal, E>,
    ) -> Result<Opened, E> {
        self.close(relax);
        self.write_message(message);
        // Closed and idle, no bit can be set but LATCHED, which the swap takes, and WAITER, which has
        // done its work.
        // Release: signals that see OPEN see the message.
        // Acquire: sending a latched signal sees what the device stored before it.
        let before = self.word.swap(OPEN, Ordering::AcqRel);
        if before & LATCHED == 0 {
            return Ok(Opened::Empty);
        }
        match send(message) {
            Ok(_) => Ok(Opened::Delivered),
            Err(error) => {
                self.close(relax);
                // Relaxed: whoever opens next acquires from this word's chain of read-modify-writes,
                // in which the signal that was latched stands already.
                self.word.fetch_or(LATCHED, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Whether a signal waits: the Pending Bit.
    #[inline]
    pub fn is_latched(&self) -> bool {
        // Acquire: who sees it pending sees what the device stored before.
        self.word.load(Ordering::Acquire) & LATCHED != 0
    }

    /// The route it has. For the thread that controls it; to others it may be history.
    #[inline]
    pub fn route(&self) -> Route {
        // Relaxed: control alone changes OPEN and the message, and is ordered by itself.
        match self.word.load(Ordering::Relaxed) & OPEN {
            0 => Route::Closed,
            _ => Route::Open(self.read_message()),
        }
    }

    /// Takes a waiting signal back; tells whether there was one.
    #[inline]
    pub fn clear(&self) -> bool {
        // Relaxed, both: nothing is handed over, and the word's chain of read-modify-writes stays unbroken.
        // The look saves a step where nothing waits; a signal that it misses comes after it.
        self.word.load(Ordering::Relaxed) & LATCHED != 0
            && self.word.fetch_and(!LATCHED, Ordering::Relaxed) & LATCHED != 0
    }

    /// Sends as one that is counted in flight, and counts down however the send ends.
    #[inline]
    fn send_in_flight<E>(
        &self,
        relax: &impl Relax,
        send: impl FnOnce(MsiMessage) -> Result<Signal, E>,
    ) -> Result<Signal, E> {
        let _landing = InFlight { latch: self, relax };
        send(self.read_message())
    }

    /// Waits for the count to reach zero: a few looks, then parked.
    #[cold]
    fn wait_until_idle(&self, relax: &impl Relax) {
        for _ in 0..relax.spins() {
            // Acquire: at zero, every send happened before this.
            if self.word.load(Ordering::Acquire) & IN_FLIGHT == 0 {
                return;
            }
            core::hint::spin_loop();
        }
        loop {
            // Acquire: as above. The flag makes the last one down wake us; set in the same step as
            // the look, it cannot be missed.
            let seen = self.word.fetch_or(WAITER, Ordering::Acquire) | WAITER;
            if seen & IN_FLIGHT == 0 {
                return;
            }
            relax.park(&self.word, seen);
        }
    }

    // Relaxed, here and below: the word orders every reader and writer of the message.
    #[inline]
    fn write_message(&self, message: MsiMessage) {
        self.address_low.store(message.address_low(), Ordering::Relaxed);
        self.address_high.store(message.address_high(), Ordering::Relaxed);
        self.data.store(message.data, Ordering::Relaxed);
    }

    #[inline]
    fn read_message(&self) -> MsiMessage {
        let low = self.address_low.load(Ordering::Relaxed);
        let high = self.address_high.load(Ordering::Relaxed);
        MsiMessage::new(join(low, high), self.data.load(Ordering::Relaxed))
    }
}

/// A trigger in flight; dropping it counts down, also when the send panics.
struct InFlight<'a, R: Relax> {
    latch: &'a Latch,
    relax: &'a R,
}

impl<R: Relax> Drop for InFlight<'_, R> {
    #[inline]
    fn drop(&mut self) {
        // Release: the close that sees the count at zero sees our send done.
        let before = self.latch.word.fetch_sub(1, Ordering::Release);
        if before & (IN_FLIGHT | WAITER) == WAITER | 1 {
            self.relax.unpark(&self.latch.word);
        }
    }
}
