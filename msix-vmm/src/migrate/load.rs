//! What the VM is under: device threads that signal without a pause, and a driver that programs the device meanwhile.

use std::time::Instant;

use super::hosted::Hosted;
use super::messages::Held;
use crate::check::driving::message;
use crate::check::rig::{HANG, Rig};
use crate::check::storm::{Pace, Storm, Stormed, during_storm};
use crate::check::verdict::{Failure, Verdict, holds};
use crate::machine::{Access, Width};

/// What the driver does before the VM goes: so many masks, unmasks, moves and reads of the PBA.
const STEPS: usize = 40;
/// How many signals each device thread makes at most while the driver does one thing.
const GRANT: u64 = 500;
/// Rounds of the program that the guest is in the middle of when it is stopped, five accesses each.
const PROGRAM: usize = 100;

/// A VM that was stopped under load.
pub(super) struct Stopped {
    /// Since then.
    pub(super) since: Instant,
    /// How often each vector has been signalled.
    pub(super) signals: Vec<u64>,
    /// Vectors that the guest saw masked and pending.
    pub(super) held: Vec<Held>,
}

/// What becomes of some vectors this time.
struct Roles {
    /// Masked and pending in the end.
    held: Vec<u16>,
    /// Not signalled at all: an interrupt that nobody sent is not taken for one that somebody did.
    resting: Vec<u16>,
}

impl Roles {
    /// Some vectors of each kind are held, one at least; as many under handshake rest, if there are enough.
    fn deal(vectors: u16, random: &mut fastrand::Rng) -> Self {
        let mut roles = Self { held: Vec::new(), resting: Vec::new() };
        for kind in 0..Pace::KINDS {
            let mut of_kind: Vec<u16> = (kind..vectors).step_by(Pace::KINDS.into()).collect();
            random.shuffle(&mut of_kind);
            let (held, others) = of_kind.split_at(of_kind.len().div_ceil(4));
            roles.held.extend(held);
            if Pace::of(kind) == Pace::Handshake {
                roles.resting.extend(&others[..held.len().min(others.len())]);
            }
        }
        roles
    }
}

/// Loads the VM and stops it: some vectors are masked and pending, CPU 0 is in the middle of a program, and device threads
/// signal until after the CPUs have stopped, so that interrupts wait in local APICs.
pub(super) fn load(hosted: &Hosted, signals: &[u64]) -> Result<Stopped, Failure> {
    let mut random = fastrand::Rng::with_seed(hosted.rig.seed);
    let Roles { held, resting } = Roles::deal(hosted.rig.vectors(), &mut random);
    let at_pace = |wanted| {
        let all = (0..).zip(signals).filter(|(vector, _)| !resting.contains(vector));
        let at_it = all.filter(|(vector, _)| Pace::of(*vector) == wanted);
        let stormed =
            |(vector, &signals)| Stormed { signals, ..Stormed::new(vector, vec![vector], wanted) };
        at_it.map(stormed).collect()
    };
    let (mut stopped_held, mut since) = (Vec::new(), Instant::now());
    let threads = vec![at_pace(Pace::Storm), at_pace(Pace::Handshake)];
    let outcomes = during_storm(&hosted.rig, Storm::rationed(), threads, |storm| {
        stopped_held = drive(hosted, storm, &held, &mut random)?;
        since = Instant::now();
        hosted.machine.freeze();
        rage_on(storm)
    })?;
    let mut signals = signals.to_vec();
    for outcome in outcomes {
        signals[usize::from(outcome.vector)] = outcome.signals;
    }
    Ok(Stopped { since, signals, held: stopped_held })
}

/// Drives at random, until these vectors are masked and pending, and then has the guest go on by itself.
fn drive(
    hosted: &Hosted,
    storm: &Storm,
    held: &[u16],
    random: &mut fastrand::Rng,
) -> Result<Vec<Held>, Failure> {
    let rig = &hosted.rig;
    for _ in 0..STEPS {
        rage_on(storm)?;
        step(rig, random);
    }
    let stays = hold(rig, storm, held)?;
    let free: Vec<u16> = (0..rig.vectors()).filter(|vector| !held.contains(vector)).collect();
    rig.intact()?;
    hosted.machine.begin(0, &program(rig, &free, random))?;
    rage_on(storm)?;
    Ok(stays)
}

/// Returns in the middle of signals that have just been granted.
fn rage_on(storm: &Storm) -> Verdict {
    storm.rage_on(GRANT)
}

fn step(rig: &Rig, random: &mut fastrand::Rng) {
    let vector = random.u16(..rig.vectors());
    let mut driver = rig.driver(0);
    match random.u8(..16) {
        0..5 => driver.mask(vector),
        5..10 => driver.unmask(vector),
        10..13 => {
            driver.change_affinity(vector, message(vector, random.usize(..rig.machine.cpus())))
        }
        13 => driver.mask_function(),
        14 => driver.unmask_function(),
        _ => drop(driver.is_pending(vector)),
    }
}

/// Masks these vectors, lets the CPUs handle what was sent before, and waits until the guest sees in the PBA that all are pending.
fn hold(rig: &Rig, storm: &Storm, held: &[u16]) -> Result<Vec<Held>, Failure> {
    for &vector in held {
        rig.driver(0).mask(vector);
    }
    rig.settle()?;
    let stays =
        held.iter().map(|&vector| Held { vector, runs: rig.machine.runs(vector) }).collect();
    let started = Instant::now();
    for &vector in held {
        while !rig.driver(0).is_pending(vector) {
            rig.intact()?;
            rage_on(storm)?;
            holds(started.elapsed() < HANG, || format!("masked vector {vector} is never pending"))?;
        }
    }
    Ok(stays)
}

/// Moves these vectors from CPU to CPU, mask, rewrite, unmask, and reads the PBA.
fn program(rig: &Rig, vectors: &[u16], random: &mut fastrand::Rng) -> Vec<Access> {
    let dword = |address, value| Access::MmioWrite { address, width: Width::Dword, value };
    let mut accesses = Vec::new();
    while !vectors.is_empty() && accesses.len() < 5 * PROGRAM {
        let vector = vectors[random.usize(..vectors.len())];
        let entry = rig.found.table_address() + 16 * u64::from(vector);
        let home = message(vector, random.usize(..rig.machine.cpus()));
        accesses.extend([
            dword(entry + 12, 1),
            Access::MmioRead { address: entry + 12, width: Width::Dword },
            dword(entry, home.address_low().into()),
            dword(entry + 12, 0),
            Access::MmioRead { address: rig.found.pba_address(), width: Width::Qword },
        ]);
    }
    accesses
}
