//! C10: input of guest, device process and snapshot never panics, nor allocates or logs without bound.
//!
//! What a guest can access is in `tests/abuse.rs`, what a snapshot can hold in the modules of C14.

use crate::support::endless::Endless;
use crate::support::guest::{NONE, bring_up, function, message, pba, table, unsynced};
use crate::support::observing::{Event, Events};
use vm_msix::test_utils::{MockBackend, MockError};
use vm_msix::{Counters, Direction, MsiBackend, MsixError, MsixStateV1, Region, Route, RouteEvent};
use vm_msix::{Signal, VectorCount, VectorIndex};

#[test]
fn c10_a_vector_that_is_not_there_is_a_typed_error() {
    let backend = MockBackend::new(3).unwrap();
    let mut msix = function(3, &backend);
    bring_up(&mut msix);
    for vector in [3, 4, 63, 64, 2047, 2048, u16::MAX] {
        let error = msix.trigger(vector).unwrap_err();
        match error {
            MsixError::VectorOutOfRange { vector: at, vectors: 3 } => {
                assert_eq!(at, usize::from(vector));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            error_text(&msix.retract(vector).unwrap_err()),
            format!("vector {vector} does not exist: the function has 3, counted from 0")
        );
        assert!(msix.trigger_handle(vector).is_err());
    }
    assert_eq!(backend.take_sent(), []);
    assert_eq!(pba(&msix), [0]);
}

fn error_text(error: &MsixError) -> String {
    error.to_string()
}

#[test]
fn c10_an_access_of_a_megabyte_is_one_illegal_access() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend).with_observer(Events::default());
    let mut data = vec![0xa5; 1 << 20];
    msix.read_msix_table(0, &mut data);
    assert!(data.iter().all(|&byte| byte == 0));
    data.fill(0xa5);
    msix.read_pba_entries(0, &mut data);
    assert!(data.iter().all(|&byte| byte == 0));
    data.fill(0xff);
    msix.write_msix_table(0, &data);
    msix.write_pba_entries(0, &data);
    msix.write_msix_capability(0, &data);
    let illegal = |region, direction| Event::Illegal(region, direction, 0, 1 << 20);
    assert_eq!(
        msix.observer().take(),
        [
            illegal(Region::Table, Direction::Read),
            illegal(Region::Pba, Direction::Read),
            illegal(Region::Table, Direction::Write),
            illegal(Region::Pba, Direction::Write),
            illegal(Region::Capability, Direction::Write),
        ]
    );
    assert_eq!(table(&msix), [0, 0, 0, 1, 0, 0, 0, 1]);
    assert!(!msix.enabled());
}

/// A backend that reports vectors which the function has not, and Pending Bits of them.
struct Liar(VectorCount);

impl MsiBackend for Liar {
    type Error = MockError;

    fn vectors(&self) -> VectorCount {
        self.0
    }

    fn set_routes(
        &self,
        _changes: &[(VectorIndex, Route)],
        report: &mut dyn FnMut(VectorIndex, RouteEvent<MockError>),
    ) {
        self.late_events(report);
    }

    fn late_events(&self, report: &mut dyn FnMut(VectorIndex, RouteEvent<MockError>)) {
        for vector in [2, 64, 2047].map(|vector| VectorIndex::new(vector).unwrap()) {
            report(vector, RouteEvent::Delivered);
            report(vector, RouteEvent::Refused(MockError));
            report(vector, RouteEvent::Exhausted(MockError));
            report(vector, RouteEvent::StillOpen(MockError));
        }
    }

    fn flush(&self) {}

    fn signal(&self, _vector: VectorIndex) -> Result<Signal, MockError> {
        Ok(Signal::HandedOver)
    }

    fn latched(&self, _qword: usize) -> u64 {
        u64::MAX
    }

    fn clear_latch(&self, _vector: VectorIndex) -> bool {
        true
    }

    fn clear_latches(&self, cleared: &mut dyn FnMut(VectorIndex)) {
        [2, 64, 2047].into_iter().filter_map(VectorIndex::new).for_each(cleared);
    }

    fn release(&self, _report: &mut dyn FnMut(VectorIndex, RouteEvent<Self::Error>)) {}
}

#[test]
fn c10_a_backend_that_speaks_of_vectors_that_are_not_there_is_not_believed() {
    let liar = Liar(VectorCount::new(2).unwrap());
    let mut msix = function(2, liar).with_observer(Counters::default());
    bring_up(&mut msix);
    msix.flush().unwrap();
    assert_eq!(unsynced(&msix), NONE);
    let saved = msix.snapshot();
    assert_eq!(saved.vectors.len(), 2);
    msix.restore(&saved).unwrap();
    assert_eq!(msix.trigger(0).unwrap(), Signal::HandedOver);
    msix.reset();
    assert_eq!(msix.observer().counts().retracted, 0);
}

#[test]
fn c10_a_backend_that_is_asked_for_a_vector_that_is_not_there_does_nothing() {
    let backend = MockBackend::new(2).unwrap();
    let other = VectorIndex::new(2).unwrap();
    backend.set_routes(&[(other, Route::Open(message(2)))], &mut |_, event| panic!("{event:?}"));
    assert_eq!(backend.signal(other).unwrap(), Signal::Collapsed);
    assert!(!backend.clear_latch(other));
    assert_eq!(backend.latched(1), 0);
    assert_eq!(backend.latched(usize::MAX), 0);
    assert_eq!(backend.take_sent(), []);
}

const HEAD: &str = r#"{"pci_id":1,"device_name":"","enabled":false,"function_masked":false,"bus_master":true,"vectors":["#;
const VECTOR: &str = r#"{"address":0,"data":0,"masked":true,"pending":false},"#;

#[test]
fn c10_too_many_vectors_are_refused_while_they_are_read() {
    let mut endless = Endless::new(HEAD, VECTOR);
    let error = serde_json::from_reader::<_, MsixStateV1>(&mut endless).unwrap_err();
    assert!(error.to_string().contains("at most 2048 vectors"), "{error}");
    assert!(endless.read <= HEAD.len() + 2050 * VECTOR.len(), "{} bytes", endless.read);
}
