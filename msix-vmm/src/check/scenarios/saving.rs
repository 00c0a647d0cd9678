//! The function saved, and continued.

use vm_msix::Signal;

use crate::check::rig::Rig;
use crate::check::verdict::{Failure, equal};

/// A function that is saved while some vectors are masked and pending, and restored over what has changed since,
/// goes on as it was saved: what was pending is delivered once, what came later is forgotten.
pub(super) fn save_and_restore(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    rig.unmask_wave();
    let all: Vec<u16> = (0..rig.wave()).collect();
    rig.driver(0).mask_function();
    rig.keeps_silent(all.iter().copied(), 1)?;
    let saved = rig.device.save()?;
    equal("vectors saved as pending", pending(&saved), all.len())?;

    // The device goes on: everything is delivered, then programmed away.
    rig.driver(0).unmask_function();
    rig.ran_exactly_once(all.iter().copied())?;
    rig.device.reset()?;
    rig.trigger_expecting(0, Signal::Latched)?;
    rig.settle()?;
    rig.machine.reset();

    rig.device.restore(&saved)?;
    equal("vectors out of sync after restore", rig.device.unsynced()?, 0)?;
    equal("Pending Bits after restore", rig.pending(), all.clone())?;
    rig.silent(all.iter().copied())?;
    rig.driver(0).unmask_function();
    rig.ran_exactly_once(all.iter().copied())?;
    rig.intact()?;
    Ok(format!("{} vectors saved pending, 1 delivery each after restore", all.len()))
}

fn pending(state: &vm_msix::MsixStateV1) -> usize {
    state.vectors.iter().filter(|vector| vector.pending).count()
}
