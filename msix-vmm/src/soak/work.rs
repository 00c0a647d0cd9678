//! What driver and VMM do in a round, at random.

use vm_msix::MsixStateV1;
use vm_msix::test_utils::RegisterAccess;

use super::report::Done;
use super::subject::{Descriptors, open_all};
use crate::check::configuration::Delivery;
use crate::check::descriptors::DescriptorAction;
use crate::check::driving::{self, message};
use crate::check::rig::Rig;
use crate::check::storm::Storm;
use crate::check::verdict::Verdict;

/// Steps of a round.
const STEPS: usize = 60;
/// How many signals each device thread makes at most in a step.
const GRANT: u64 = 64;
/// The same for a device process, which is asked for each.
const GRANT_OF_A_PROCESS: u64 = 16;

/// The states that a round has gone through.
#[derive(Debug, Default)]
pub(super) struct Upsets {
    /// Resets and restores in the midst of the signals.
    pub(super) count: u64,
    /// Vectors that a restored state had pending, each time.
    pub(super) restored: Vec<u16>,
}

/// Vectors that a state has pending.
pub(super) fn pending_in(state: &MsixStateV1) -> Vec<u16> {
    let vectors = (0..).zip(&state.vectors);
    vectors.filter(|(_, vector)| vector.pending).map(|(number, _)| number).collect()
}

/// What works, and on what.
pub(super) struct Work<'a> {
    pub(super) rig: &'a Rig,
    pub(super) descriptors: &'a Descriptors,
    pub(super) saved: &'a mut Option<MsixStateV1>,
    pub(super) done: &'a mut Done,
    pub(super) random: &'a mut fastrand::Rng,
    /// If the function may be reset and restored meanwhile.
    pub(super) upsets: Option<Upsets>,
}

impl Work<'_> {
    /// Works while device threads signal.
    pub(super) fn go_on(&mut self, storm: &Storm) -> Verdict {
        let grant = match self.rig.configuration.delivery {
            Delivery::DeviceProcess => GRANT_OF_A_PROCESS,
            Delivery::Signal | Delivery::Irqfd | Delivery::Host => GRANT,
        };
        for _ in 0..STEPS {
            storm.rage_on(grant)?;
            match self.random.u8(..64) {
                0..50 => self.drive(),
                50..60 => self.change_descriptors()?,
                60 | 61 => self.save()?,
                _ => self.upset()?,
            }
            self.rig.intact()?;
        }
        Ok(())
    }

    /// One thing that a driver does, on either CPU.
    fn drive(&mut self) {
        let Self { rig, random, done, .. } = self;
        let cpus = rig.machine.cpus();
        let (vector, home) = (random.u16(..rig.vectors()), random.usize(..cpus));
        let mut driver = rig.driver(random.usize(..cpus));
        let what = random.u8(..50);
        match what {
            0..16 => driver.mask(vector),
            16..32 => driver.unmask(vector),
            32..39 => driver.change_affinity(vector, message(vector, home)),
            39..43 => drop(driver.access().read_pba(u64::from(vector / 64) * 8)),
            43 => driver.mask_function(),
            44 | 45 => driver.unmask_function(),
            46 => driver.disable(),
            47 => driver.enable(),
            48 => driver.access().set_bus_master(false),
            _ => driver.access().set_bus_master(true),
        }
        *match what {
            0..32 => &mut done.masks,
            32..39 => &mut done.moves,
            39..43 => &mut done.polls,
            _ => &mut done.switches,
        } += 1;
    }

    /// Takes, brings, exchanges or drops descriptors, of vectors whose producer has nothing else.
    fn change_descriptors(&mut self) -> Verdict {
        let counted = |vector: &u16| !self.rig.is_written(*vector);
        let vectors: Vec<u16> = (0..self.rig.vectors()).filter(counted).collect();
        let mut any = || vectors[self.random.usize(..vectors.len())];
        let (vector, other) = (any(), any());
        let action = match self.random.u8(..8) {
            0..3 => DescriptorAction::Take(vector),
            3 => DescriptorAction::Adopt(vector),
            4 => DescriptorAction::Swap(vector, other),
            _ => DescriptorAction::Drop(vector),
        };
        (self.descriptors)(action)?;
        self.done.promotions += 1;
        Ok(())
    }

    /// Saves the function, and goes on with it.
    fn save(&mut self) -> Verdict {
        *self.saved = Some(self.rig.device.save()?);
        self.done.saves += 1;
        Ok(())
    }

    /// Resets the function or restores it, if that may be, and lets the driver begin anew.
    fn upset(&mut self) -> Verdict {
        let Self { rig, saved, done, random, .. } = self;
        let Some(upsets) = &mut self.upsets else { return Ok(()) };
        upsets.count += 1;
        match saved {
            Some(state) if random.bool() => {
                rig.device.restore(state)?;
                upsets.restored.extend(pending_in(state));
                done.restores += 1;
            }
            _ => {
                rig.device.reset()?;
                driving::set_up(rig)?;
                done.resets += 1;
            }
        }
        open_all(rig)
    }
}
