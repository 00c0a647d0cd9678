//! No access of a guest panics, whatever its width, its offset and the state of the function, and each has the
//! one result that the oracle foresees.

mod support;

use self::support::host::Host;
use self::support::ops::{Bytes, Fault, Kind, Op};
use self::support::oracle::Oracle;
use self::support::rig::Rig;

const PATTERNS: [u8; 4] = [0x00, 0xff, 0x80, 0x55];

/// A function and the oracle for it, brought to the same state.
struct Subject {
    rig: Rig,
    oracle: Oracle,
    vectors: u16,
}

/// Brings a function to a state.
type Prepare = fn(&mut Subject);

/// States from which a guest starts its abuse.
const STATES: [(&str, Prepare); 9] = [
    ("reset", |_| ()),
    ("enabled", |subject| subject.control(0x80)),
    ("function masked", |subject| {
        subject.unmask_all();
        subject.control(0xc0);
    }),
    ("all unmasked", |subject| {
        subject.unmask_all();
        subject.control(0x80);
    }),
    ("pending", |subject| {
        subject.unmask_all();
        subject.trigger_all();
    }),
    ("no bus mastering", |subject| {
        subject.unmask_all();
        subject.control(0x80);
        subject.run(Op::BusMaster(false));
        subject.trigger_all();
    }),
    ("after failures", |subject| {
        subject.unmask_all();
        let last = subject.vectors - 1;
        subject.arm(Fault::Open(0, Kind::Refused));
        subject.arm(Fault::Open(last / 2, Kind::Exhausted));
        subject.arm(Fault::Open(last, Kind::StillOpen));
        subject.control(0x80);
        subject.trigger_all();
    }),
    ("with failures to come", |subject| {
        subject.unmask_all();
        subject.control(0x80);
        for vector in [0, subject.vectors - 1] {
            for kind in [Kind::Exhausted, Kind::Refused, Kind::StillOpen] {
                subject.arm(Fault::Open(vector, kind));
                subject.arm(Fault::Close(vector));
            }
        }
    }),
    ("after destroy", |subject| {
        subject.unmask_all();
        subject.control(0x80);
        subject.rig.msix.destroy();
        subject.oracle.run(Op::Reset);
        // What the destruction told the backend is seen with the next operation: nothing of it here.
        subject.rig.run(Op::Flush);
        subject.oracle.run(Op::Flush);
    }),
];

impl Subject {
    fn new(vectors: u16, state: Prepare) -> Self {
        let rig = Rig::new(Host::mock(vectors));
        let mut subject = Self { rig, oracle: Oracle::new(vectors), vectors };
        state(&mut subject);
        subject.compare();
        subject
    }

    fn run(&mut self, op: Op) {
        assert_eq!(self.rig.run(op), self.oracle.run(op), "{op:?}");
    }

    fn arm(&mut self, fault: Fault) {
        self.rig.arm(fault);
        self.oracle.arm(fault);
    }

    fn compare(&self) {
        if let Some(difference) = self.rig.difference(&self.oracle) {
            panic!("{difference}");
        }
    }

    fn control(&mut self, high: u8) {
        self.run(Op::Capability(3, Bytes::new(&[high])));
    }

    fn unmask_all(&mut self) {
        for vector in 0..self.vectors {
            self.run(Op::data_and_control(vector, 0x40 + u32::from(vector), 0));
        }
    }

    fn trigger_all(&mut self) {
        for vector in 0..self.vectors {
            self.run(Op::Trigger(vector));
        }
    }

    /// Reads of table and PBA: what the oracle has, over a buffer that held something else.
    fn read(&mut self, offset: u64, len: usize) {
        let msix = &self.rig.msix;
        let mut data = vec![0xa5; len];
        msix.read_msix_table(offset, &mut data);
        let expected = self.oracle.read_table(offset, len);
        assert_eq!(data, expected, "table, {len} bytes at {offset:#x}");
        data.fill(0xa5);
        msix.read_pba_entries(offset, &mut data);
        let expected = self.oracle.read_pba(offset, len);
        assert_eq!(data, expected, "PBA, {len} bytes at {offset:#x}");
    }

    fn write(&mut self, offset: u64, len: usize) {
        for pattern in PATTERNS {
            let bytes = Bytes::new(&[pattern; 16][..len]);
            self.run(Op::Table(offset, bytes));
            self.run(Op::Pba(offset, bytes));
            self.run(Op::Capability(offset, bytes));
        }
    }
}

fn at_the_end_of_the_address_space() -> impl Iterator<Item = u64> {
    (0..=32).map(|back| u64::MAX - back)
}

/// Offsets that are something else when they are cut off, or multiplied.
fn at_powers_of_two() -> impl Iterator<Item = u64> {
    [15, 16, 20, 31, 32, 33, 35, 36, 48, 52, 60, 63]
        .into_iter()
        .flat_map(|bit| [0, 4, 8, 12, 16].map(|more| (1 << bit) + more))
}

#[test]
fn no_access_of_any_width_at_any_offset_panics_or_surprises() {
    for vectors in [1, 3, 17] {
        for (_, state) in STATES {
            let mut subject = Subject::new(vectors, state);
            let size = 16 * u64::from(vectors);
            for len in 0..=16 {
                for offset in (0..size + 32).chain(at_the_end_of_the_address_space()) {
                    subject.read(offset, len);
                    subject.write(offset, len);
                    subject.read(offset, len);
                }
            }
        }
    }
}

#[test]
fn no_write_leaves_anything_behind_that_the_oracle_has_not() {
    for (name, state) in STATES {
        for len in 0..=16 {
            for offset in 0..64 {
                let mut subject = Subject::new(2, state);
                subject.write(offset, len);
                if let Some(difference) = subject.rig.difference(&subject.oracle) {
                    panic!("{name}, {len} bytes at {offset}: {difference}");
                }
            }
        }
    }
}

#[test]
fn no_access_panics_at_the_boundaries_of_a_function_with_2048_vectors() {
    const SIZE: u64 = 16 * 2048;
    for (_, state) in STATES {
        let mut subject = Subject::new(2048, state);
        let boundaries = (0..16)
            .chain(240..272) // the end of the PBA
            .chain(SIZE - 32..SIZE + 32)
            .chain(at_powers_of_two())
            .chain(at_the_end_of_the_address_space());
        for offset in boundaries {
            for len in [0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 16] {
                subject.read(offset, len);
                let bytes = Bytes::new(&[0x5a; 16][..len]);
                subject.run(Op::Table(offset, bytes));
                subject.run(Op::Pba(offset, bytes));
            }
        }
        subject.compare();
    }
}

#[test]
fn no_write_of_the_capability_panics_with_2048_vectors() {
    for (_, state) in STATES {
        let mut subject = Subject::new(2048, state);
        for len in [0, 1, 2, 3, 4, 8, 16] {
            for offset in (0..=16).chain([u64::MAX - 4, u64::MAX - 3, u64::MAX]) {
                let bytes = Bytes::new(&[0xc0; 16][..len]);
                subject.run(Op::Capability(offset, bytes));
            }
        }
        subject.compare();
    }
}

#[test]
fn no_vector_number_of_a_device_panics() {
    for (_, state) in STATES {
        let mut subject = Subject::new(3, state);
        for vector in (0..=70).chain(2040..=2056).chain(u16::MAX - 8..=u16::MAX) {
            subject.run(Op::Trigger(vector));
            subject.run(Op::Retract(vector));
        }
        subject.compare();
    }
}
