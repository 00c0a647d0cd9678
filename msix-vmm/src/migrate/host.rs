//! A process that hosts the VM: it takes it, looks at it, loads it, and gives it away.

use std::error::Error;
use std::io::{Stdin, Stdout, stdin, stdout};

use super::hosted::{Hosted, State};
use super::load;
use super::messages::{Begin, Held, Order, Reply, Then};
use super::wire::{Wire, WireError};
use crate::check::driving;
use crate::check::rest::{self, Seen, once_more};
use crate::check::rig::Rig;
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
            driving::set_up(&hosted.rig)?;
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
    driving::unmask_all(rig)?;
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
            once_more(rig, &mut signals, |_, _| {})?;
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

/// Waits until the guest has seen the last signal of every vector, and tells what it has seen.
fn at_rest(rig: &Rig, signals: &[u64]) -> Result<Seen, Failure> {
    rest::at_rest(rig, |vector, last, runs| {
        let signals = signals[usize::from(vector)];
        match Pace::of(vector) {
            Pace::Storm => last == signals,
            Pace::Handshake => u64::from(runs) == signals,
        }
    })
}
