//! Which vector, and how many: the two numbers that every access is checked against.

use crate::MsixError;
use crate::spec;

/// The index of a vector, which is the index of its table entry: 0..=2047.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VectorIndex(u16);

/// How many vectors a function has: 1..=2048.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VectorCount(u16);

impl VectorIndex {
    /// The vector with this index, `None` above 2047.
    pub const fn new(index: u16) -> Option<Self> {
        if index < spec::MAX_VECTORS { Some(Self(index)) } else { None }
    }

    /// The index as the table counts it.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The index for use with slices.
    #[inline]
    pub fn as_usize(self) -> usize {
        usize::from(self.0)
    }
}

impl core::fmt::Display for VectorIndex {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

impl VectorCount {
    /// Checks a number of vectors.
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorCount`] outside 1..=2048.
    pub fn new(vectors: u16) -> Result<Self, MsixError> {
        match vectors {
            1..=spec::MAX_VECTORS => Ok(Self(vectors)),
            _ => Err(MsixError::VectorCount { vectors: vectors.into() }),
        }
    }

    /// The number itself.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The number for use with slices.
    #[inline]
    pub fn as_usize(self) -> usize {
        usize::from(self.0)
    }

    /// QWORDs of the PBA: one for every 64 vectors, the last perhaps not full.
    pub const fn pba_qwords(self) -> u16 {
        self.0.div_ceil(spec::PENDING_PER_QWORD)
    }

    /// Every vector, in order.
    pub fn indices(self) -> impl DoubleEndedIterator<Item = VectorIndex> + ExactSizeIterator {
        (0..self.0).map(VectorIndex)
    }

    /// The bits of this QWORD of the PBA that belong to vectors; the others are reserved and read as zero.
    pub(crate) fn pending_mask(self, qword: usize) -> u64 {
        let before = qword.saturating_mul(usize::from(spec::PENDING_PER_QWORD));
        match self.as_usize().saturating_sub(before) {
            0 => 0,
            vectors => u64::MAX >> (64_usize.saturating_sub(vectors)),
        }
    }

    /// The vectors whose Pending Bits are in this QWORD of the PBA, lowest bit first; none past the end.
    pub fn in_qword(self, qword: usize) -> impl DoubleEndedIterator<Item = VectorIndex> {
        let first = u16::try_from(qword)
            .ok()
            .and_then(|qword| qword.checked_mul(spec::PENDING_PER_QWORD))
            .unwrap_or(self.0);
        let end = first.saturating_add(spec::PENDING_PER_QWORD).min(self.0);
        (first..end).map(VectorIndex)
    }

    /// The vector with this index if the function has it.
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorOutOfRange`] if it has not.
    #[inline]
    pub fn check(self, vector: usize) -> Result<VectorIndex, MsixError> {
        match u16::try_from(vector) {
            Ok(index) if index < self.0 => Ok(VectorIndex(index)),
            _ => Err(MsixError::VectorOutOfRange { vector, vectors: self.0 }),
        }
    }
}
