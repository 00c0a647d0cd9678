//! The driver works while the device never pauses.
//!
//! A local APIC collapses interrupts, so handler runs say nothing here. Instead the device writes a rising number to
//! memory before each signal and the handler keeps the last one that it read: if the last one written is seen once
//! everything is at rest, no interrupt was lost.

use vm_msix::MsiMessage;

use crate::check::message_log::address;
use crate::check::rig::{HANG, Rig};
use crate::check::storm::{Pace, Storm, Stormed, during_storm};
use crate::check::verdict::{Failure, Verdict, equal};
use crate::machine::{FIRST_DEVICE_VECTOR, MaskBit};

/// A vector moves between two messages, by mask, rewrite, unmask, while it is signalled without a pause.
pub(super) fn affinity(rig: &Rig) -> Result<String, Failure> {
    const MOVES: usize = 400;
    rig.start_over()?;
    // Two programmings that share neither address nor data, so that a torn one shows.
    let homes = [(0, FIRST_DEVICE_VECTOR), (rig.machine.cpus() - 1, FIRST_DEVICE_VECTOR + 1)];
    let sent_to = |(cpu, vector)| rig.log.interrupts_to(cpu, vector);
    let sent_before = rig.log.interrupts();
    let homes_before = homes.map(sent_to);

    // By the IDT vector that it comes with, an interrupt is attributed to entry 0 or to entry 1.
    let stormed = [Stormed::new(0, vec![0, 1], Pace::Storm)];
    let outcomes = during_storm(rig, Storm::endless(), vec![stormed.into()], |storm| {
        (1..=MOVES).try_for_each(|step| {
            let (cpu, vector) = homes[step % 2];
            move_vector(rig, storm, MsiMessage::new(address(cpu), vector.into()))
        })
    })?;

    let signals = outcomes.iter().map(|outcome| outcome.signals).sum::<u64>();
    let seen = || rig.machine.last_seen(0).max(rig.machine.last_seen(1));
    rig.machine.wait_until(HANG, &mut || seen() == signals)?;
    rig.settle()?;
    equal("last number seen, of the last one written", seen(), signals)?;
    let to_homes: u64 =
        homes.into_iter().zip(homes_before).map(|(home, before)| sent_to(home) - before).sum();
    equal("messages to neither home", rig.log.interrupts() - sent_before - to_homes, 0)?;
    equal("interrupts of nobody", rig.machine.unexpected_interrupts(), vec![])?;
    rig.intact()?;
    let sent = match rig.is_trigger(0) {
        true => format!("{to_homes} messages"),
        false => "messages sent by KVM".into(),
    };
    Ok(format!("{MOVES} moves, {signals} signals, {sent}: none while masked, none torn, none lost"))
}

/// Two device threads signal vectors at random while the driver masks and unmasks them at random.
pub(super) fn masks(rig: &Rig) -> Result<String, Failure> {
    const STEPS: usize = 1000;
    rig.start_over()?;
    // Not to the CPU that drives.
    rig.program(0, rig.wave(), rig.machine.cpus() - 1, MaskBit::Clear)?;
    let vectors = rig.wave().min(16);
    let of_thread = |thread| {
        let vectors = (0..vectors).filter(|vector| vector % 2 == thread);
        vectors.map(|vector| Stormed::new(vector, vec![vector], Pace::Storm)).collect()
    };
    let outcomes =
        during_storm(rig, Storm::endless(), vec![of_thread(0), of_thread(1)], |storm| {
            let mut random = fastrand::Rng::with_seed(rig.seed);
            (0..STEPS).try_for_each(|_| {
                storm.let_it_rage()?;
                let vector = random.u16(..vectors);
                match random.bool() {
                    true => rig.driver(0).mask(vector),
                    false => rig.driver(0).unmask(vector),
                }
                Ok(())
            })
        })?;

    for &Stormed { vector, signals, .. } in &outcomes {
        rig.driver(0).unmask(vector);
        rig.machine.wait_until(HANG, &mut || rig.machine.last_seen(vector) == signals)?;
        let what = format_args!("last number seen by vector {vector}, of the last one written");
        equal(what, rig.machine.last_seen(vector), signals)?;
    }
    rig.intact()?;
    let signals: u64 = outcomes.iter().map(|outcome| outcome.signals).sum();
    Ok(format!("{STEPS} masks and unmasks, {signals} signals on {vectors} vectors, none lost"))
}

/// Moves vector 0, and shows that nothing of it is sent from the return of the masking write to the unmask.
///
/// What the device sends itself is judged where it is sent. What KVM takes from an eventfd is judged by
/// the handler: once the CPUs have handled what they had when the write returned, it must not run.
fn move_vector(rig: &Rig, storm: &Storm, message: MsiMessage) -> Verdict {
    let handled = || rig.machine.runs(0) + rig.machine.runs(1);
    storm.let_it_rage()?;
    rig.driver(0).mask(0);
    let sent = rig.log.interrupts();
    rig.settle()?;
    let before = handled();
    storm.let_it_rage()?;
    rig.driver(0).program(0, message);
    equal("messages sent while masked", rig.log.interrupts() - sent, 0)?;
    rig.settle()?;
    equal("handler runs while masked", handled() - before, 0)?;
    rig.driver(0).unmask(0);
    rig.intact()
}
