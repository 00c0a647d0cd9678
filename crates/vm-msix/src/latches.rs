//! The latches of a function, and where to look for the Pending Bits among them.
//!
//! # The hints
//!
//! A guest reads 64 Pending Bits at once. They are in 64 latches, nearly all of them empty, so beside the
//! latches lies one bit for each, the *hint*: a vector whose hint is clear has nothing latched. One whose hint is
//! set may have, and its latch is looked at. The Pending Bit is the latch and nothing else; a hint that is
//! set for no reason costs a look.
//!
//! - **signal**, having latched or collapsed, makes sure that its hint is set.
//! - **open**, having opened, clears the hint: what was latched is sent, and nothing latches while it is open.
//!   Where the send failed, the latch has closed again and keeps the signal, and the hint stays.
//! - **clear** leaves the hint.
//!
//! # Why it is correct
//!
//! *A signal that was latched before a look is seen by it.* The signal's hint was set when it returned,
//! by itself or by another. Some opening may clear it after that; then that opening comes after the
//! signal in the order of the latch's word, so it took the signal away and sent it. For
//! if it came before, a close lies between them, since the signal found the latch closed. What control did before
//! that close, clearing the hint included, the close releases and the signal's step on the word acquires: the
//! signal then finds the hint clear, and sets it.
//!
//! *A collapsed signal looks after the hint as well.* The one before it has set LATCHED and perhaps nothing else yet.
//!
//! *The hint is looked after when the word is written, and cleared when it is open.* The other way round,
//! a hint that was set early may be cleared before its signal latches, and one that is cleared early hides a
//! signal that still waits.
//!
//! So the word orders the hints, and every access of them is Relaxed. They are changed by read-modify-writes, because
//! 64 vectors share a word; and only where there is something to change, so that signals on a masked
//! function share a cache line and do not fight for it. A signal on an open vector does not touch them.
//!
//! # Where the latches lie
//!
//! Four latches fill a cache line, and two devices that write one line wait for each other: two threads
//! that trigger vectors of one line get through a quarter less, system call included. Neighbours are
//! the likeliest to be busy at once, as the queues of one device, so they lie in different lines: 64 vectors are
//! dealt out over 16 lines, one to each, four times round. Fewer than that take a line each, up to 16.

use alloc::boxed::Box;
use core::{array, iter};

use crate::atomic::{AtomicU64, Ordering};
use crate::backend::Signal;
use crate::latch::{Latch, Opened};
use crate::message::MsiMessage;
use crate::relax::Relax;
use crate::route::Route;
use crate::vector::{VectorCount, VectorIndex};

/// Lines over which 64 vectors are dealt out.
const LINES: usize = 16;

/// A latch for each vector of a function, and how its closes wait: see the [module](self).
///
/// What is asked about a vector that is not there does nothing.
#[derive(Debug)]
pub struct Latches<R> {
    vectors: VectorCount,
    lines: Box<[Line]>,
    /// A word for every QWORD of the PBA, with its bits.
    hints: Box<[AtomicU64]>,
    relax: R,
}

/// Latches that share a cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Line([Latch; 4]);

impl<R: Relax> Latches<R> {
    /// A closed, empty latch for each vector.
    pub fn new(vectors: VectorCount, relax: R) -> Self {
        let count = vectors.as_usize();
        let lines = count / 64 * LINES + (count % 64).min(LINES);
        Self {
            vectors,
            lines: (0..lines).map(|_| Line(array::from_fn(|_| Latch::new()))).collect(),
            hints: (0..vectors.pba_qwords()).map(|_| AtomicU64::new(0)).collect(),
            relax,
        }
    }

    /// How many there are.
    #[inline]
    pub fn vectors(&self) -> VectorCount {
        self.vectors
    }

    /// Signals, as [`Latch::signal`] does. `None` if there is no such vector.
    ///
    /// # Errors
    ///
    /// Those of `send`; the signal is not latched then.
    #[inline]
    pub fn signal<E>(
        &self,
        vector: VectorIndex,
        send: impl FnOnce(MsiMessage) -> Result<Signal, E>,
    ) -> Option<Result<Signal, E>> {
        let signal = self.get(vector)?.signal(&self.relax, send);
        if let Ok(Signal::Latched | Signal::Collapsed) = signal {
            self.set_hint(vector);
        }
        Some(signal)
    }

    /// Closes, as [`Latch::close`] does.
    #[inline]
    pub fn close(&self, vector: VectorIndex) {
        if let Some(latch) = self.get(vector) {
            latch.close(&self.relax);
        }
    }

    /// Opens, as [`Latch::open`] does. `None` if there is no such vector.
    ///
    /// # Errors
    ///
    /// Those of `send`: the latch is closed then and keeps the signal.
    #[inline]
    pub fn open<E>(
        &self,
        vector: VectorIndex,
        message: MsiMessage,
        send: impl FnOnce(MsiMessage) -> Result<Signal, E>,
    ) -> Option<Result<Opened, E>> {
        let opened = self.get(vector)?.open(message, &self.relax, send);
        if opened.is_ok() {
            self.clear_hint(vector);
        }
        Some(opened)
    }

    /// Takes a waiting signal back; tells whether there was one.
    #[inline]
    pub fn clear(&self, vector: VectorIndex) -> bool {
        self.get(vector).is_some_and(Latch::clear)
    }

    /// The route of a vector. For the thread that controls it; to others it may be history.
    #[inline]
    pub fn route(&self, vector: VectorIndex) -> Route {
        self.get(vector).map_or(Route::Closed, Latch::route)
    }

    /// 64 Pending Bits: those of the vectors from `64 * qword`, lowest bit first.
    #[inline]
    pub fn pending(&self, qword: usize) -> u64 {
        let hints = self.hints(qword);
        if hints == 0 {
            return 0;
        }
        let latched = |bit: &u64| {
            let at = usize::try_from(bit.trailing_zeros()).unwrap_or(0);
            self.at(qword, at).is_some_and(Latch::is_latched)
        };
        bits(hints).filter(latched).fold(0, |pending, bit| pending | bit)
    }

    /// The hints to those 64 Pending Bits: where one is clear, so is the Pending Bit.
    #[inline]
    pub fn hints(&self, qword: usize) -> u64 {
        // Relaxed, here and below: see the module.
        self.hints.get(qword).map_or(0, |hints| hints.load(Ordering::Relaxed))
    }

    #[inline]
    fn set_hint(&self, vector: VectorIndex) {
        let (hints, bit) = self.hint(vector);
        if let Some(hints) = hints
            && hints.load(Ordering::Relaxed) & bit == 0
        {
            hints.fetch_or(bit, Ordering::Relaxed);
        }
    }

    #[inline]
    fn clear_hint(&self, vector: VectorIndex) {
        let (hints, bit) = self.hint(vector);
        if let Some(hints) = hints
            && hints.load(Ordering::Relaxed) & bit != 0
        {
            hints.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// A vector's bit, and the word that it is in.
    #[inline]
    fn hint(&self, vector: VectorIndex) -> (Option<&AtomicU64>, u64) {
        let index = vector.as_usize();
        (self.hints.get(index / 64), 1 << (index % 64))
    }

    #[inline]
    fn get(&self, vector: VectorIndex) -> Option<&Latch> {
        let index = vector.as_usize();
        if vector.get() < self.vectors.get() { self.at(index / 64, index % 64) } else { None }
    }

    /// The latch of one of the 64 vectors from `64 * qword`.
    #[inline]
    fn at(&self, qword: usize, vector: usize) -> Option<&Latch> {
        let line = self.lines.get(qword * LINES + vector % LINES)?;
        line.0.get(vector / LINES)
    }
}

/// The bits that are set, each by itself.
#[inline]
fn bits(word: u64) -> impl Iterator<Item = u64> {
    let lowest = |word: u64| (word != 0).then(|| word & word.wrapping_neg());
    iter::successors(Some(word), move |word| lowest(*word).map(|bit| word ^ bit)).map_while(lowest)
}

#[cfg(all(test, not(vm_msix_loom)))]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use super::*;
    use crate::relax::Spin;

    /// The address of every latch, in order.
    fn addresses(vectors: u16) -> Vec<usize> {
        let latches = Latches::new(VectorCount::new(vectors).unwrap(), Spin);
        let addresses = latches.vectors().indices();
        addresses.map(|vector| core::ptr::from_ref(latches.get(vector).unwrap()).addr()).collect()
    }

    #[test]
    fn every_vector_has_a_latch_of_its_own() {
        for vectors in (1..=200).chain([2047, 2048]) {
            let distinct: BTreeSet<_> = addresses(vectors).into_iter().collect();
            assert_eq!(distinct.len(), usize::from(vectors));
        }
    }

    #[test]
    fn neighbours_lie_in_different_cache_lines() {
        for vectors in (1..=200).chain([2047, 2048]) {
            for near in addresses(vectors).windows(LINES) {
                let lines: BTreeSet<_> = near.iter().map(|address| address / 64).collect();
                assert_eq!(lines.len(), near.len(), "of {vectors} vectors");
            }
        }
    }

    #[test]
    fn a_route_is_closed_until_it_is_opened_and_from_its_close() {
        let latches = Latches::new(VectorCount::new(2).unwrap(), Spin);
        let [vector, other, none] = [0, 1, 2].map(|index| VectorIndex::new(index).unwrap());
        assert_eq!(latches.route(vector), Route::Closed);
        for data in [1, 2] {
            let message = MsiMessage { address: 0xfee0_0000, data };
            let opened = latches.open(vector, message, |_| Ok::<_, ()>(Signal::Sent));
            assert_eq!(opened, Some(Ok(Opened::Empty)));
            assert_eq!(latches.route(vector), Route::Open(message));
            latches.close(vector);
            assert_eq!(latches.route(vector), Route::Closed);
        }
        assert_eq!([other, none].map(|vector| latches.route(vector)), [Route::Closed; 2]);
    }

    #[test]
    fn there_is_no_latch_past_the_last_vector() {
        for vectors in (1..=200).chain([2046, 2047]) {
            let latches = Latches::new(VectorCount::new(vectors).unwrap(), Spin);
            for vector in vectors..vectors + 2 {
                let vector = VectorIndex::new(vector);
                assert!(vector.is_none_or(|vector| latches.get(vector).is_none()));
            }
        }
    }

    #[test]
    fn a_latch_has_its_own_pending_bit() {
        for vectors in [1, 2, 16, 17, 63, 64, 65, 80, 2048] {
            let latches = Latches::new(VectorCount::new(vectors).unwrap(), Spin);
            for vector in latches.vectors().indices() {
                let signal = latches.signal(vector, |_| Ok::<_, ()>(Signal::Sent));
                assert_eq!(signal, Some(Ok(Signal::Latched)));
                let expected = (vector.as_usize() / 64, 1 << (vector.as_usize() % 64));
                let qwords = 0..usize::from(latches.vectors().pba_qwords());
                let pending: Vec<_> = qwords
                    .map(|qword| (qword, latches.pending(qword)))
                    .filter(|(_, bits)| *bits != 0)
                    .collect();
                assert_eq!(pending, [expected]);
                assert!(latches.clear(vector));
            }
        }
    }
}
