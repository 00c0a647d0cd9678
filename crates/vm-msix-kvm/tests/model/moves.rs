//! What can be done next, and where a search starts.

use super::ops::{Control, Op, Place};
use super::oracle::Oracle;

/// Where the sequences start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Enabled, every vector open to its device.
    Up,
    /// The same with a descriptor for every vector.
    Outside,
    /// Every vector has a descriptor and is masked, and a signal waits in each.
    Waiting,
}

pub(crate) const OPEN: Control = Control { enabled: true, masked: false };

fn places(oracle: &Oracle) -> Vec<Place> {
    (0..2)
        .flat_map(|number| (0..oracle.vectors(number)).map(move |vector| (number, vector)))
        .collect()
}

/// What brings two new functions to the start.
pub(crate) fn prologue(start: Start, oracle: &Oracle) -> Vec<Op> {
    let mut ops = vec![Op::Control(0, OPEN), Op::Control(1, OPEN)];
    let places = places(oracle);
    let mut everywhere = |op: fn(Place) -> Op| ops.extend(places.iter().copied().map(op));
    match start {
        Start::Up => everywhere(Op::Unmask),
        Start::Outside => {
            everywhere(Op::Promote);
            everywhere(Op::Unmask);
        }
        Start::Waiting => {
            everywhere(Op::Promote);
            everywhere(Op::Write);
        }
    }
    ops.extend(Some(Op::RunPending).filter(|&op| oracle.can(op)));
    ops
}

/// Everything that can be done next.
pub(crate) fn alphabet(oracle: &Oracle) -> Vec<Op> {
    let mut ops = vec![Op::RunPending];
    for function in 0..2 {
        ops.extend([
            Op::Control(function, OPEN),
            Op::Control(function, Control { enabled: true, masked: true }),
            Op::Control(function, Control { enabled: false, masked: false }),
            Op::BusMaster(function, false),
            Op::BusMaster(function, true),
            Op::Swap(function),
            Op::SaveRestore(function),
            Op::Reset(function),
            Op::Flush(function),
            Op::End(function),
        ]);
    }
    for place in places(oracle) {
        ops.extend(
            [Op::Mask, Op::Unmask, Op::Rewrite, Op::Trigger, Op::Retract].map(|op| op(place)),
        );
        ops.extend([Op::Write, Op::Promote, Op::Demote, Op::Adopt].map(|op| op(place)));
    }
    ops.retain(|&op| oracle.can(op));
    ops
}
