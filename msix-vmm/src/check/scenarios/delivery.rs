//! Interrupts that arrive.

use crate::check::rig::Rig;
use crate::check::verdict::{Failure, equal};
use crate::machine::{DEVICE_VECTORS, MaskBit};

/// Every table entry, in waves that the IDT has room for, each on a CPU in turn: one signal, one run of
/// its handler, no run of another.
pub(super) fn every_entry(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    let firsts = (0..rig.vectors()).step_by(DEVICE_VECTORS.into());
    let waves = firsts.len();
    for (wave, first) in firsts.enumerate() {
        let count = DEVICE_VECTORS.min(rig.vectors() - first);
        let cpu = wave % rig.machine.cpus();
        rig.settle()?;
        rig.machine.set_wave(first);
        rig.program(first, count, cpu, MaskBit::Clear)?;
        for vector in first..first + count {
            rig.machine.set_sequence(vector, 1);
            rig.handshake(vector, 1)?;
            let what = format_args!("number seen by vector {vector}");
            equal(what, rig.machine.last_seen(vector), 1)?;
        }
        // The next wave has the same IDT vectors.
        rig.program(first, count, cpu, MaskBit::Set)?;
    }
    for vector in 0..rig.vectors() {
        equal(format_args!("handler runs of vector {vector}"), rig.machine.runs(vector), 1)?;
    }
    equal("interrupts of nobody", rig.machine.unexpected_interrupts(), Vec::new())?;
    equal("vectors out of sync", rig.device.unsynced()?, 0)?;
    rig.intact()?;
    Ok(format!("{} entries in {waves} waves, one handler run each", rig.vectors()))
}

/// The device signals only after the handler has run: handler runs = signals, exactly.
pub(super) fn handshake(rig: &Rig) -> Result<String, Failure> {
    const ROUNDS: u32 = 50;
    rig.start_over()?;
    let vectors = rig.wave().min(8);
    for cpu in 0..rig.machine.cpus() {
        rig.program(0, rig.wave(), cpu, MaskBit::Clear)?;
        let before = ROUNDS * cpu as u32;
        for round in 1..=ROUNDS {
            for vector in 0..vectors {
                rig.handshake(vector, before + round)?;
            }
        }
        rig.settle()?;
        for vector in 0..vectors {
            let what = format_args!("handler runs of vector {vector} on CPU {cpu}");
            equal(what, rig.machine.runs_on(cpu, vector), ROUNDS)?;
        }
    }
    rig.intact()?;
    let all = ROUNDS * u32::from(vectors) * rig.machine.cpus() as u32;
    Ok(format!("{all} signals, {all} handler runs, on {} CPUs", rig.machine.cpus()))
}
