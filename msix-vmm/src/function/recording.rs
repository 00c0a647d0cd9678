//! What a guest does to a function's MSI-X, written down so that it can be replayed without the guest.
//!
//! The form is that of `crates/vm-msix/tests/data/guests`.

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard};

use vm_msix::{MsiMessage, Region, Route, Signal, VectorIndex};

use crate::device::lock;

/// Bytes of the capability that are not MSI-X's own: its ID, and the next one's place.
const HEADER: u64 = 2;

/// A recording of one function.
pub(crate) struct Recording {
    turn: Mutex<()>,
    page: Mutex<Page>,
}

struct Page {
    file: File,
    open: BTreeMap<VectorIndex, MsiMessage>,
}

/// As long as it lives, nothing else happens to the function.
pub(crate) struct Turn<'a> {
    recording: &'a Recording,
    _turn: MutexGuard<'a, ()>,
}

impl Recording {
    /// A recording of a function as it is after reset.
    pub(crate) fn new(mut file: File, vectors: u16) -> io::Result<Self> {
        writeln!(file, "vectors {vectors}")?;
        Ok(Self { turn: Mutex::default(), page: Mutex::new(Page { file, open: BTreeMap::new() }) })
    }

    pub(super) fn turn(&self) -> Turn<'_> {
        Turn { recording: self, _turn: lock(&self.turn) }
    }

    pub(super) fn signalled(&self, vector: VectorIndex, signal: Signal) {
        let outcome = match signal {
            Signal::Sent => "sent",
            Signal::Latched => "latched",
            Signal::Collapsed => "collapsed",
            Signal::HandedOver => "handed-over",
        };
        lock(&self.page).write(format_args!("signal {} {outcome}", vector.get()));
        if signal == Signal::Sent {
            self.sent(vector);
        }
    }

    pub(super) fn sent(&self, vector: VectorIndex) {
        let mut page = lock(&self.page);
        if let Some(message) = page.open.get(&vector).copied() {
            let (address, data) = (message.address, message.data);
            page.write(format_args!("sent {} {address:#x} {data:#x}", vector.get()));
        }
    }

    pub(super) fn retracted(&self, vector: VectorIndex) {
        lock(&self.page).write(format_args!("retract {}", vector.get()));
    }

    pub(super) fn route_changed(&self, vector: VectorIndex, route: Route) {
        let mut page = lock(&self.page);
        match route {
            Route::Open(message) => drop(page.open.insert(vector, message)),
            Route::Closed => drop(page.open.remove(&vector)),
        }
    }
}

impl Turn<'_> {
    /// The guest reads this.
    pub(super) fn read(&self, region: Region, offset: u64, data: &[u8]) {
        // What configuration space keeps there is not MSI-X's.
        if region != Region::Capability || (HEADER..2 * HEADER).contains(&offset) {
            self.access("read ", region, offset, data);
        }
    }

    /// The guest is about to write this.
    pub(super) fn write(&self, region: Region, offset: u64, data: &[u8]) {
        self.access("write", region, offset, data);
    }

    fn access(&self, what: &str, region: Region, offset: u64, data: &[u8]) {
        let mut value = [0; 8];
        for (to, from) in value.iter_mut().zip(data) {
            *to = *from;
        }
        let (width, value) = (data.len(), u64::from_le_bytes(value));
        let place = match region {
            Region::Capability if offset == HEADER => "control".into(),
            Region::Capability => format!("capability+{offset:#x}"),
            Region::Table => format!("table+{offset:#04x}"),
            Region::Pba => format!("pba+{offset:#x}"),
        };
        lock(&self.recording.page).write(format_args!("{what} {place} {width} {value:#x}"));
    }
}

impl Page {
    /// A line. What cannot be written is missed when the recording is replayed.
    fn write(&mut self, line: Arguments<'_>) {
        let _ = writeln!(self.file, "{line}");
    }
}
