//! A trigger while another thread masks and unmasks without a pause: nobody may wait for a lock that covers an ioctl.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vm_msix::{MsiBackend, Trigger};

use super::floors::{Floor, Operation};
use super::host::{Function, Host};
use super::masks::{Mask, set_mask};
use super::measure::{Budget, Outcome, Samples, Timing, median};
use super::orders;
use super::pass::{Bench, Measured};
use super::plan::{By, Case, Mode};
use super::triggers::trigger;

/// The vector that is triggered.
const TRIGGERED: u16 = 0;
/// Its neighbour: their latches may share a cache line.
const NEIGHBOUR: u16 = 1;
/// How long one turn is.
const SLICE: Duration = Duration::from_millis(10);

/// The mask of the neighbour, or of a vector that is far away, is flipped.
pub(super) fn other_mask<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    match case.by {
        Some(By::Neighbour) => measure(bench, case, NEIGHBOUR),
        _ => measure(bench, case, case.vectors - 1),
    }
}

/// That of the triggered vector is.
pub(super) fn same_mask<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    measure(bench, case, TRIGGERED)
}

fn measure<H: Host>(bench: &Bench<'_, H>, case: &Case, flipped: u16) -> Outcome<Measured> {
    let mut function = Function::new(bench.host, case.mode, case.vectors)?;
    orders::batch(&mut function.driver(), case.vectors);
    function.settle()?;
    let handle = function.msix.trigger_handle(TRIGGERED)?;
    let function = RefCell::new(function);
    bench.by_hand(
        |meter| {
            meter.once(|| {
                trigger(&handle);
                flip(&mut function.borrow_mut(), flipped);
                function.borrow_mut().settle()
            })
        },
        |budget, floors| {
            let control = floors.operation(control(case), 0)?;
            Ok(in_turns(budget, &handle, &mut function.borrow_mut(), flipped, control))
        },
    )
}

/// What a flip comes to at the least, on another VM.
fn control(case: &Case) -> Floor {
    match case.mode {
        Mode::Signal => Floor::Atomic(1),
        Mode::Irqfd => Floor::Rebind(case.vectors),
    }
}

fn flip<H: Host>(function: &mut Function<H>, vector: u16) {
    set_mask(function, vector, Mask::Set);
    set_mask(function, vector, Mask::Clear);
}

/// Alone, beside flips, and beside a control, in turns. The floor is the trigger alone, by the same clock. What the
/// control takes from a trigger is the computer's doing, or the kernel's, and not ours.
fn in_turns<H: Host>(
    budget: Budget,
    handle: &Trigger<H::Backend, ()>,
    function: &mut Function<H>,
    flipped: u16,
    mut control: Operation<'_>,
) -> Measured {
    let (mut alone, mut beside, mut controlled) = (Samples::new(), Samples::new(), Samples::new());
    let (mut rates, mut control_rates) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while rates.len() < budget.min_laps || start.elapsed() < budget.row * 3 {
        let undisturbed = one_by_one(handle, &mut alone);
        let flipping = disturbed(handle, &mut beside, || flip(function, flipped));
        // What was put off must not disturb the next turn.
        function.msix.backend().flush();
        let bare = disturbed(handle, &mut controlled, &mut control);
        rates.push(flipping / undisturbed);
        control_rates.push(bare / undisturbed);
    }
    let ratio = |samples: &Samples, at| samples.quantile(at) / alone.quantile(at);
    let timing = Timing {
        median_ns: beside.quantile(0.5),
        p99_ns: beside.quantile(0.99),
        floor_ns: alone.quantile(0.5),
        ratio: ratio(&beside, 0.5),
    };
    Measured { timing: Some(timing), ..Measured::default() }
        .with("mean_ns", beside.mean())
        .with("p999_ns", beside.quantile(0.999))
        .with("alone_mean_ns", alone.mean())
        .with("alone_p99_ns", alone.quantile(0.99))
        .with("alone_p999_ns", alone.quantile(0.999))
        .with("p99_ratio", ratio(&beside, 0.99))
        .with("p999_ratio", ratio(&beside, 0.999))
        .with("rate_ratio", median(&mut rates))
        .with("control_p99_ratio", ratio(&controlled, 0.99))
        .with("control_p999_ratio", ratio(&controlled, 0.999))
        .with("control_rate_ratio", median(&mut control_rates))
}

/// Triggers while a thread does this over and over.
fn disturbed<B: MsiBackend>(
    handle: &Trigger<B, ()>,
    samples: &mut Samples,
    mut disturb: impl FnMut() + Send,
) -> f64 {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                disturb();
            }
        });
        let rate = one_by_one(handle, samples);
        stop.store(true, Ordering::Relaxed);
        rate
    })
}

/// Times trigger by trigger; tells how many there were in a second.
fn one_by_one<B: MsiBackend>(handle: &Trigger<B, ()>, samples: &mut Samples) -> f64 {
    let (start, mut triggers) = (Instant::now(), 0_u32);
    while start.elapsed() < SLICE {
        let before = Instant::now();
        trigger(handle);
        samples.add(before.elapsed().as_secs_f64() * 1e9);
        triggers += 1;
    }
    f64::from(triggers) / start.elapsed().as_secs_f64()
}
