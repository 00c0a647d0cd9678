//! Hooks that keep what they are told.

use std::sync::{Arc, Mutex};

use vm_msix::MsiMessage;
use vm_msix_kvm::{MemoryWrite, RequesterId, Translate};

/// A log that many hands write.
pub(crate) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Log<T> {
    pub(crate) fn push(&self, item: T) {
        self.0.lock().unwrap().push(item);
    }

    /// What was written since the last look.
    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Memory that remembers its writes.
#[derive(Clone, Default)]
pub(crate) struct Memory(pub(crate) Log<(RequesterId, MsiMessage)>);

impl Memory {
    /// The data written since the last look.
    pub(crate) fn take_data(&self) -> Vec<u32> {
        self.0.take().into_iter().map(|(_, message)| message.data).collect()
    }
}

impl MemoryWrite for Memory {
    fn write(&self, requester: RequesterId, message: MsiMessage) {
        self.0.push((requester, message));
    }
}

/// An interrupt remapper with one rule for all, which the test changes as it likes.
#[derive(Clone, Default)]
pub(crate) struct Remapper {
    rule: Arc<Mutex<Rule>>,
    pub(crate) asked: Log<(RequesterId, MsiMessage)>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Default)]
pub(crate) enum Rule {
    #[default]
    Pass,
    Block,
    Become(MsiMessage),
}

impl Remapper {
    pub(crate) fn set(&self, rule: Rule) {
        *self.rule.lock().unwrap() = rule;
    }
}

impl Translate for Remapper {
    fn translate(&self, requester: RequesterId, message: MsiMessage) -> Option<MsiMessage> {
        self.asked.push((requester, message));
        match *self.rule.lock().unwrap() {
            Rule::Pass => Some(message),
            Rule::Block => None,
            Rule::Become(other) => Some(other),
        }
    }
}
