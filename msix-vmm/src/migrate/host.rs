//! A process that hosts the VM: it takes it, looks at it, loads it, and gives it away.

use std::error::Error;
use std::io::{Stdin, Stdout, stdin, stdout};

use super::hosted::{Hosted, State};
use super::load;
use super::messages::{Begin, Held, Order, Reply, Seen, Then};
use super::wire::{Wire, WireError};
use crate::check::rig::{HANG, Rig};
use crate::check::storm::Pace;
use crate::check::verdict::{Failure, Verdict, equal};

type Connection = Wire<Stdin, Stdout>;

/// Hosts a VM, at the orders of whoever is at the other end of standard input and output.
pub(crate) fn run() -> Result<bool, Box<dyn Error>> {
    let mut wire = Wire::new(stdin(), stdout());
    let order = match wire.receive() {
        Ok(order) => order,
        // Whoever wanted it has no use for it any more.
        Err(WireError::Broken(_)) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    match host(&mut wire, &order) {
        Ok(()) => Ok(true),
        Err(error) => {
            wire.send(&Reply::Failed(error.to_string()))?;
            Ok(false)
        }
    }
}

fn host(wire: &mut Connection, order: &Order) -> Result<(), Box<dyn Error>> {
    let Order { configuration, seed, begin, then } = order;
    let (hosted, mut signals) = match begin {
        Begin::Boot => {
            let hosted = Hosted::boot(*configuration, *seed)?;
            load::set_up(&hosted.rig)?;
            (hosted, vec![0; configuration.vectors.into()])
        }
        Begin::Continue { .. } => {
            let state: State = wire.receive()?;
            (Hosted::arrive(&state, *configuration, *seed)?, state.signals)
        }
    };
    wire.send(&Reply::Resumed)?;
    let rig = &hosted.rig;
    if let Begin::Continue { held } = begin {
        still_held(rig, held)?;
    }
    unmask_all(rig)?;
    wire.send(&Reply::AtRest(at_rest(rig, &signals)?))?;

    match then {
        Then::Leave => {
            let stopped = load::load(&hosted, &signals)?;
            wire.send(&Reply::Leaving { stopped_for: stopped.since.elapsed() })?;
            let (state, departure) = hosted.leave(stopped)?;
            wire.send(&Reply::Left(departure))?;
            wire.send(&state)?;
        }
        Then::Stay => {
            once_more(rig, &mut signals)?;
            wire.send(&Reply::AtRest(at_rest(rig, &signals)?))?;
        }
    }
    Ok(())
}

/// Shows that vectors which left masked and pending are so as the guest reads them, and that their handlers have not run since.
/// The guest reads when it has done what it was in the middle of.
fn still_held(rig: &Rig, held: &[Held]) -> Verdict {
    rig.settle()?;
    for &Held { vector, runs } in held {
        let mut driver = rig.driver(0);
        equal(format_args!("Mask Bit of vector {vector}"), driver.is_masked(vector), true)?;
        equal(format_args!("Pending Bit of vector {vector}"), driver.is_pending(vector), true)?;
        let what = format_args!("handler runs of masked vector {vector}");
        equal(what, rig.machine.runs(vector), runs)?;
    }
    rig.intact()
}

/// Lets everything come.
fn unmask_all(rig: &Rig) -> Verdict {
    let mut driver = rig.driver(0);
    driver.unmask_function();
    (0..rig.vectors()).for_each(|vector| driver.unmask(vector));
    rig.intact()
}

/// Waits until the guest has seen the last signal of every vector, and tells what it has seen; that, too, if it is not what
/// was waited for, because that is not judged here.
fn at_rest(rig: &Rig, signals: &[u64]) -> Result<Seen, Failure> {
    let machine = &rig.machine;
    let vectors = 0..rig.vectors();
    let has_come = |(vector, &signals): (u16, &u64)| match load::pace(vector) {
        Pace::Storm => machine.last_seen(vector) == signals,
        Pace::Handshake => u64::from(machine.runs(vector)) == signals,
    };
    machine.wait_until(HANG, &mut || vectors.clone().zip(signals).all(has_come))?;
    rig.settle()?;
    Ok(Seen {
        last: vectors.clone().map(|vector| machine.last_seen(vector)).collect(),
        runs: vectors.clone().map(|vector| machine.runs(vector)).collect(),
        unexpected: machine.unexpected_interrupts().len(),
        unsynced: rig.device.unsynced()?,
    })
}

/// Signals every vector once: it comes behind whatever was still on its way.
fn once_more(rig: &Rig, signals: &mut [u64]) -> Verdict {
    for (vector, signals) in (0..).zip(signals) {
        *signals += 1;
        rig.machine.set_sequence(vector, *signals);
        rig.trigger(vector)?;
    }
    Ok(())
}
