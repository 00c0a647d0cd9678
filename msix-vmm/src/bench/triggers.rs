//! Triggers, by one thread or by two with a vector each.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vm_msix::{MsiBackend, Trigger};

use super::floors::{Floor, Floors, Operation};
use super::host::{Function, Host};
use super::masks::{Mask, set_mask};
use super::measure::{Budget, Outcome, Samples, Timing, median};
use super::orders;
use super::pass::{Bench, Measured};
use super::plan::{Case, Mode};

/// How long two threads run side by side: shorter than the turns of other programs, of which there are many then.
const SLICE: Duration = Duration::from_millis(2);

/// On open vectors: the message is sent.
pub(super) fn open<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    let floor = match case.mode {
        Mode::Signal => Floor::SignalMsi,
        Mode::Irqfd => Floor::EventfdWrite,
    };
    measure(bench, case, floor, |_| {})
}

/// On vectors whose Mask Bit is set: the signal is latched.
pub(super) fn masked<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    measure(bench, case, Floor::Atomic(1), |function| {
        (0..case.threads).for_each(|vector| set_mask(function, vector, Mask::Set));
    })
}

/// Under Function Mask.
pub(super) fn function_masked<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    measure(bench, case, Floor::Atomic(1), |function| function.driver().mask_function())
}

fn measure<H: Host>(
    bench: &Bench<'_, H>,
    case: &Case,
    floor: Floor,
    close: impl FnOnce(&mut Function<H>),
) -> Outcome<Measured> {
    let mut function = Function::new(bench.host, case.mode, case.vectors)?;
    orders::batch(&mut function.driver(), case.vectors);
    function.settle()?;
    close(&mut function);
    let handles = (0..case.threads).map(|vector| function.msix.trigger_handle(vector));
    let handles = handles.collect::<Result<Vec<_>, _>>()?;
    if let [handle] = &*handles {
        return bench.measure(floor, |meter| {
            meter.repeat(|| trigger(handle));
            Ok(())
        });
    }
    bench.by_hand(
        |meter| {
            meter.once(|| trigger(&handles[0]));
            Ok(())
        },
        |budget, floors| side_by_side(budget, floors, floor, &handles),
    )
}

/// Signals.
pub(super) fn trigger<B: MsiBackend>(handle: &Trigger<B, ()>) {
    let _ = black_box(black_box(handle).trigger());
}

/// One thread and several, bare and ours, in turns. The ratio is that of what more threads are good for: how
/// much more ours do than one of ours, to how much more the bare ones do than one of them.
fn side_by_side<B: MsiBackend>(
    budget: Budget,
    floors: &Floors,
    floor: Floor,
    handles: &[Trigger<B, ()>],
) -> Outcome<Measured> {
    let bare = (0..).zip(handles).map(|(vector, _)| floors.operation(floor, vector));
    let mut bare = bare.collect::<Outcome<Vec<_>>>()?;
    let ours = handles.iter().map(|handle| -> Operation<'_> { Box::new(|| trigger(handle)) });
    let mut ours: Vec<_> = ours.collect();

    let threads = handles.len() as f64;
    let (mut least, mut taken) = (Samples::new(), Samples::new());
    let (mut ratios, mut scalings, mut bare_scalings) = (Vec::new(), Vec::new(), Vec::new());
    let start = Instant::now();
    while ratios.len() < budget.min_laps || start.elapsed() < budget.row * 3 {
        let [bare_one, bare_all] = [rate(&mut bare[..1]), rate(&mut bare)];
        let [our_one, our_all] = [rate(&mut ours[..1]), rate(&mut ours)];
        least.add(1e9 * threads / bare_all);
        taken.add(1e9 * threads / our_all);
        scalings.push(our_all / our_one);
        bare_scalings.push(bare_all / bare_one);
        ratios.push(our_all / our_one / (bare_all / bare_one));
    }
    let timing = Timing {
        median_ns: taken.quantile(0.5),
        p99_ns: taken.quantile(0.99),
        floor_ns: least.quantile(0.5),
        ratio: median(&mut ratios),
    };
    let measured = Measured { timing: Some(timing), ..Measured::default() };
    Ok(measured
        .with("scaling", median(&mut scalings))
        .with("floor_scaling", median(&mut bare_scalings)))
}

/// How often a second all of these together are done, each by a thread of its own.
fn rate(operations: &mut [Operation<'_>]) -> f64 {
    let (stop, begin) = (AtomicBool::new(false), Barrier::new(operations.len() + 1));
    thread::scope(|scope| {
        let workers = operations.iter_mut().map(|operation| {
            let (stop, begin) = (&stop, &begin);
            scope.spawn(move || {
                begin.wait();
                rate_of(operation, stop)
            })
        });
        let workers: Vec<_> = workers.collect();
        begin.wait();
        thread::sleep(SLICE);
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().expect("no trigger panics")).sum()
    })
}

fn rate_of(operation: &mut Operation<'_>, stop: &AtomicBool) -> f64 {
    const BATCH: u32 = 64;
    let start = Instant::now();
    let mut done = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        (0..BATCH).for_each(|_| operation());
        done += u64::from(BATCH);
    }
    done as f64 / start.elapsed().as_secs_f64()
}
