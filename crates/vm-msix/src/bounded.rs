//! Sequences of a saved state, read no further than they may be long: a hostile state cannot claim memory (C10).
//!
//! What a format says about their length is not believed either: space is made for what has been read.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

use crate::spec;

/// As many as there are Pending Bits for, at 64 in each.
const MAX_QWORDS: u16 = spec::MAX_VECTORS.div_ceil(spec::PENDING_PER_QWORD);

/// Reads what belongs to the vectors, one element each.
pub(crate) fn vectors<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(AtMost::new(spec::MAX_VECTORS, "vectors"))
}

/// Reads the QWORDs of a PBA.
pub(crate) fn qwords<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    deserializer.deserialize_seq(AtMost::new(MAX_QWORDS, "QWORDs"))
}

/// Reads past what belongs to the vectors, or past nothing at all, and keeps none of it.
pub(crate) fn ignored_vectors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    Option::<Ignored>::deserialize(deserializer).map(|_| ())
}

/// Stops reading at the first element too many.
struct AtMost<T> {
    max: u16,
    /// What is counted, for the error.
    elements: &'static str,
    of: PhantomData<T>,
}

/// A sequence that was read past.
struct Ignored;

impl<T> AtMost<T> {
    fn new(max: u16, elements: &'static str) -> Self {
        Self { max, elements, of: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtMost<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} {}", self.max, self.elements)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            if elements.len() == usize::from(self.max) {
                return Err(A::Error::invalid_length(elements.len().saturating_add(1), &self));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An element that was read past takes no memory, so the vector of them takes none.
        vectors::<D, IgnoredAny>(deserializer).map(|_| Self)
    }
}
