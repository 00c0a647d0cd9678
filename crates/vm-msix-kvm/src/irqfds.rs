//! The eventfds of a function, by their vectors.

use std::sync::Arc;

use vm_msix::VectorIndex;

use crate::eventfd::sample;
use crate::irqfd::{Counter, IrqfdVector};

/// The vectors in irqfd mode.
#[derive(Debug, Default)]
pub(crate) struct Irqfds {
    /// As many as the highest vector needs; few functions have any.
    vectors: Vec<Option<Arc<IrqfdVector>>>,
    len: usize,
}

impl Irqfds {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get(&self, vector: VectorIndex) -> Option<&Arc<IrqfdVector>> {
        self.vectors.get(vector.as_usize())?.as_ref()
    }

    /// Those of 64 vectors, with the bit of each.
    pub(crate) fn in_qword(&self, qword: usize) -> impl Iterator<Item = (u64, &IrqfdVector)> {
        let vectors = self.vectors.iter().skip(qword.saturating_mul(64)).zip(0..64);
        vectors.filter_map(|(irqfd, bit)| Some((1 << bit, &**irqfd.as_ref()?)))
    }

    /// What is known of the counters of vectors, by one system call. A vector alone is not worth one: whoever wants its counter
    /// looks there.
    pub(crate) fn counters(
        &self,
        vectors: impl ExactSizeIterator<Item = VectorIndex>,
    ) -> Vec<Counter> {
        if vectors.len() < 2 {
            return vec![Counter::Unknown; vectors.len()];
        }
        let notifier = |vector| Some(Arc::clone(&self.get(vector)?.lock().notifier));
        let notifiers: Vec<_> = vectors.map(notifier).collect();
        let mut sampled =
            sample(notifiers.iter().flatten().map(|notifier| &**notifier)).into_iter();
        let mut is_empty =
            |notifier: &Option<_>| notifier.is_some() && sampled.next() == Some(false);
        let counter = |empty| if empty { Counter::Empty } else { Counter::Unknown };
        notifiers.iter().map(|notifier| counter(is_empty(notifier))).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<IrqfdVector>> {
        self.vectors.iter().flatten()
    }

    pub(crate) fn insert(&mut self, vector: VectorIndex, irqfd: Arc<IrqfdVector>) {
        let index = vector.as_usize();
        if index >= self.vectors.len() {
            self.vectors.resize(index + 1, None);
        }
        let before = self.vectors[index].replace(irqfd);
        self.len += usize::from(before.is_none());
    }

    pub(crate) fn remove(&mut self, vector: VectorIndex) -> Option<Arc<IrqfdVector>> {
        let removed = self.vectors.get_mut(vector.as_usize())?.take();
        self.len -= usize::from(removed.is_some());
        if self.len == 0 {
            self.vectors = Vec::new();
        }
        removed
    }
}
