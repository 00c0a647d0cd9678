//! A real function on a host, driven by the operations that drive the oracle, and compared with it.

use std::sync::Arc;

use super::guest::{NAME, PCI_ID};
use super::host::{AnyBackend, Host};
use super::ops::{Answer, Fault, Kind, Message, Op, Seen};
use super::oracle::Oracle;
use vm_msix::test_utils::Failure;
use vm_msix::{
    Counters, MsiMessage, MsixConfig, MsixError, MsixStateV1, MsixStatus, Route, Signal,
};

#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) msix: MsixConfig<AnyBackend, Arc<Counters>>,
    host: Host,
    saved: Option<MsixStateV1>,
}

fn plain(message: MsiMessage) -> Message {
    (message.address, message.data)
}

fn wish(route: Route) -> Option<Message> {
    match route {
        Route::Closed => None,
        Route::Open(message) => Some(plain(message)),
    }
}

impl Rig {
    pub(crate) fn new(host: Host) -> Self {
        let backend = host.backend();
        let vectors = backend.vectors().get();
        let msix = MsixConfig::new(vectors, backend, PCI_ID, NAME).unwrap();
        Self { msix: msix.with_observer(Arc::<Counters>::default()), host, saved: None }
    }

    pub(crate) fn arm(&self, fault: Fault) {
        let failure = |kind| match kind {
            Kind::Refused => Failure::Refused,
            Kind::Exhausted => Failure::Exhausted,
            Kind::StillOpen => Failure::StillOpen,
        };
        match (fault, &self.host) {
            (Fault::Sends(sends), host) => host.fail_next_sends(sends),
            (Fault::Open(vector, kind), Host::Mock(mock)) => {
                mock.fail_next_open(vector, failure(kind));
            }
            (Fault::Close(vector), Host::Mock(mock)) => mock.fail_next_close(vector),
            (Fault::Late(vector, kind), Host::Mock(mock)) => mock.fail_late(vector, failure(kind)),
            (fault, Host::Signal(..)) => panic!("{fault:?}: in signal mode only sends fail"),
        }
    }

    pub(crate) fn run(&mut self, op: Op) -> Seen {
        let answer = self.answer(op);
        let mut sent: Vec<_> = self
            .host
            .take_sent()
            .into_iter()
            .map(|(vector, message)| (vector, plain(message)))
            .collect();
        sent.sort_by_key(|&(vector, _)| vector);
        let sorted = |batch: Vec<(u16, Route)>| {
            let mut told: Vec<_> =
                batch.into_iter().map(|(vector, route)| (vector, wish(route))).collect();
            told.sort_unstable();
            told
        };
        let batches = self.host.take_batches().into_iter().map(sorted).collect();
        Seen { answer, batches, sent }
    }

    fn answer(&mut self, op: Op) -> Answer {
        let status = |status| match status {
            MsixStatus::Changed => Answer::Changed,
            MsixStatus::EntryChanged(vector) => Answer::EntryChanged(vector),
            MsixStatus::NothingToDo => Answer::NothingToDo,
        };
        let msix = &mut self.msix;
        match op {
            Op::Capability(offset, bytes) => {
                status(msix.write_msix_capability(offset, bytes.as_slice()))
            }
            Op::Table(offset, bytes) => status(msix.write_msix_table(offset, bytes.as_slice())),
            Op::Pba(offset, bytes) => {
                msix.write_pba_entries(offset, bytes.as_slice());
                Answer::NothingToDo
            }
            Op::Trigger(vector) => match msix.trigger(vector) {
                Ok(Signal::Sent) => Answer::Sent,
                Ok(Signal::Latched) => Answer::Latched,
                Ok(Signal::Collapsed) => Answer::Collapsed,
                Err(MsixError::Trigger { .. }) => Answer::NotSent,
                Err(MsixError::VectorOutOfRange { .. }) => Answer::NoSuchVector,
                other => panic!("{other:?}"),
            },
            Op::Retract(vector) => match msix.retract(vector) {
                Ok(was) => Answer::Retracted(was),
                Err(_) => Answer::NoSuchVector,
            },
            Op::BusMaster(allowed) => {
                msix.set_bus_master(allowed);
                Answer::Done
            }
            Op::Reset => {
                msix.reset();
                Answer::Done
            }
            Op::SaveRestore => {
                let state = msix.snapshot();
                msix.restore(&state).unwrap();
                Answer::Done
            }
            Op::Save => {
                self.saved = Some(msix.snapshot());
                Answer::Done
            }
            Op::Restore => {
                if let Some(saved) = &self.saved {
                    msix.restore(saved).unwrap();
                }
                Answer::Done
            }
            Op::Pause => {
                msix.pause();
                Answer::Done
            }
            Op::Resume => {
                msix.resume();
                Answer::Done
            }
            Op::Flush => match msix.flush() {
                Ok(()) => Answer::Flushed,
                Err(MsixError::Unsynced { vectors, first }) => {
                    Answer::Unsynced { vectors, first: first.get() }
                }
                Err(other) => panic!("{other:?}"),
            },
        }
    }

    /// What differs from the oracle in what anyone can read, in words; `None` if nothing does.
    pub(crate) fn difference(&self, oracle: &Oracle) -> Option<String> {
        let mut table = vec![0xa5; oracle.registers().table().len()];
        for (offset, dword) in (0..).step_by(4).zip(table.chunks_mut(4)) {
            self.msix.read_msix_table(offset, dword);
        }
        differs("table", table.as_slice(), oracle.registers().table())
            .or_else(|| self.small_difference(oracle))
    }

    /// As [`difference`](Self::difference), without the table.
    pub(crate) fn small_difference(&self, oracle: &Oracle) -> Option<String> {
        let msix = &self.msix;
        let registers = oracle.registers();
        let control = u32::from(registers.control()) << 24;
        let mut pba = vec![0xa5; registers.vectors().div_ceil(64) * 8];
        for (offset, qword) in (0..).step_by(8).zip(pba.chunks_mut(8)) {
            msix.read_pba_entries(offset, qword);
        }
        let unsynced: Vec<_> = msix.unsynced().map(|vector| vector.get()).collect();
        differs("PBA", pba, oracle.pba())
            .or_else(|| differs("Message Control", msix.read_msix_capability(0), control))
            .or_else(|| differs("enabled", msix.enabled(), control >> 31 == 1))
            .or_else(|| differs("masked", msix.masked(), control >> 30 & 1 == 1))
            .or_else(|| differs("unsynced", unsynced, oracle.unsynced()))
            .or_else(|| differs("counts", msix.observer().counts(), oracle.counts()))
            .or_else(|| self.vector_difference(oracle))
    }

    fn vector_difference(&self, oracle: &Oracle) -> Option<String> {
        (0..oracle.registers().vectors()).find_map(|vector| {
            let mask_bit = oracle.registers().mask_bit(vector);
            differs("Mask Bit", self.msix.table_masked(vector), mask_bit).or_else(|| {
                let Host::Mock(mock) = &self.host else {
                    return None;
                };
                let route = mock.route(vector.try_into().unwrap());
                differs("route", wish(route), oracle.live(vector))
            })
        })
    }
}

fn differs<T: PartialEq + std::fmt::Debug>(what: &str, real: T, oracle: T) -> Option<String> {
    (real != oracle).then(|| format!("{what}: {real:02x?}, the contract says {oracle:02x?}"))
}
