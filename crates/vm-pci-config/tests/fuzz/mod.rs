//! What a fuzzer feeds, and what must hold whatever it feeds. The same is replayed from the corpus by a test.

mod chip;
#[path = "../common/device.rs"]
mod device;
mod ops;
mod rig;

#[allow(unused_imports, reason = "a fuzzer writes no seeds")]
pub(crate) use self::ops::{BarSpec, CapabilitySpec, Kind, Op, of_ops};

use self::rig::Rig;

/// So many are enough for any interplay, and do not make a fuzzer wait.
const STEPS: usize = 256;

/// A configuration space is what a chip would be, after each operation.
pub(crate) fn config_space(mut data: &[u8]) {
    let mut rig = Rig::new();
    for _ in 0..STEPS {
        let Some(op) = ops::next(&mut data) else { break };
        rig.run(&op);
        rig.compare(&op);
    }
}
