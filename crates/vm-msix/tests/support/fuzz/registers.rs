//! A whole function under anything that a guest, a device, a VMM and a failing host do with it.

use serde::{Deserialize, Serialize};

use super::super::host::Host;
use super::super::ops::{Fault, Op};
use super::super::oracle::Oracle;
use super::super::rig::Rig;
use super::next;

/// So many are enough for any interplay, and do not make a fuzzer wait.
const STEPS: usize = 256;

/// Most functions have so many vectors at most: PBAs of up to three QWORDs.
const FEW: u16 = 130;

/// Who delivers, and how many vectors there are: 2048 or few.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Setup {
    Mock(u16),
    Signal(u16),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    Run(Op),
    Fail(Fault),
    ReadTable(u64, u8),
    ReadPba(u64, u8),
}

impl Setup {
    fn host(self) -> (Host, u16) {
        let vectors = |asked| if asked == 2048 { asked } else { 1 + asked % FEW };
        match self {
            Self::Mock(asked) => (Host::mock(vectors(asked)), vectors(asked)),
            Self::Signal(asked) => (Host::signal(vectors(asked)), vectors(asked)),
        }
    }

    /// A failure of this host, of a vector that there is and that can fail in this way.
    fn fault(self, fault: Fault, oracle: &Oracle) -> Option<Fault> {
        let vectors = u16::try_from(oracle.registers().vectors()).unwrap();
        let fault = match fault {
            Fault::Open(vector, kind) => Fault::Open(vector % vectors, kind),
            Fault::Close(vector) => Fault::Close(vector % vectors),
            Fault::Sends(sends) => Fault::Sends(sends % 4),
            Fault::Late(vector, kind) => Fault::Late(vector % vectors, kind),
        };
        match (self, fault) {
            (_, Fault::Sends(_)) => Some(fault),
            (Self::Signal(_), _) => None,
            (_, Fault::Late(vector, _)) => oracle.live(vector.into()).map(|_| fault),
            _ => Some(fault),
        }
    }
}

/// Near the table and behind it; an offset with a high bit is taken as it is.
fn near(offset: u64, vectors: u16) -> u64 {
    if offset > u64::from(u32::MAX) { offset } else { offset % (16 * u64::from(vectors) + 32) }
}

fn near_op(op: Op, vectors: u16) -> Op {
    match op {
        Op::Capability(offset, bytes) if offset <= u64::from(u32::MAX) => {
            Op::Capability(offset % 16, bytes)
        }
        Op::Table(offset, bytes) => Op::Table(near(offset, vectors), bytes),
        Op::Pba(offset, bytes) => Op::Pba(near(offset, vectors), bytes),
        Op::Trigger(vector) => Op::Trigger(vector % (vectors + 2)),
        Op::Retract(vector) => Op::Retract(vector % (vectors + 2)),
        op => op,
    }
}

/// Reads over a buffer that held something else.
fn read(rig: &Rig, oracle: &mut Oracle, step: Step) {
    let stale = |len| vec![0xa5; usize::from(len % 17)];
    let vectors = rig.msix.num_vectors();
    let (data, expected) = match step {
        Step::ReadTable(offset, len) => {
            let (offset, mut data) = (near(offset, vectors), stale(len));
            rig.msix.read_msix_table(offset, &mut data);
            let expected = oracle.read_table(offset, data.len());
            (data, expected)
        }
        Step::ReadPba(offset, len) => {
            let (offset, mut data) = (near(offset, vectors), stale(len));
            rig.msix.read_pba_entries(offset, &mut data);
            let expected = oracle.read_pba(offset, data.len());
            (data, expected)
        }
        Step::Run(_) | Step::Fail(_) => return,
    };
    assert_eq!(data, expected, "{step:?}");
}

/// Each step does and shows what the oracle says.
pub(crate) fn registers(mut data: &[u8]) {
    let Some(setup) = next::<Setup>(&mut data) else { return };
    let (host, vectors) = setup.host();
    let (mut rig, mut oracle) = (Rig::new(host), Oracle::new(vectors));
    for _ in 0..STEPS {
        let Some(step) = next(&mut data) else { break };
        match step {
            Step::Run(op) => {
                let op = near_op(op, vectors);
                assert_eq!(rig.run(op), oracle.run(op), "{op:?}");
            }
            Step::Fail(fault) => {
                if let Some(fault) = setup.fault(fault, &oracle) {
                    rig.arm(fault);
                    oracle.arm(fault);
                }
            }
            Step::ReadTable(..) | Step::ReadPba(..) => read(&rig, &mut oracle, step),
        }
        // What a step did has been compared; all that can be read is, of large functions in the end only.
        let difference = if vectors <= FEW { rig.small_difference(&oracle) } else { None };
        if let Some(difference) = difference {
            panic!("after {step:?}: {difference}");
        }
    }
    if let Some(difference) = rig.difference(&oracle) {
        panic!("in the end: {difference}");
    }
}
