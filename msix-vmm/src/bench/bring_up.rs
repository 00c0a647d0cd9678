//! Bringing vectors up, from nothing to bound.

use vm_msix::MsixConfig;
use vm_msix::test_utils::GuestDriver;

use super::floors::Floor;
use super::host::{Function, Host};
use super::measure::{Meter, Outcome, Part};
use super::orders;
use super::pass::{Bench, Measured};
use super::plan::{Case, Mode};

/// The workload of many devices.
pub(super) const TEN_DEVICES: &str = "bring-up/ten-devices";
/// How many it has.
pub(super) const DEVICES: u16 = 10;

type Driver<'a, H> = GuestDriver<&'a mut MsixConfig<<H as Host>::Backend>>;

/// All at once. In irqfd mode with everything that it takes, the descriptors included.
pub(super) fn batch<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    let &Case { mode, vectors, .. } = case;
    let descriptors = Part::new();
    let measured = bench.measure(all_at_once(mode, vectors), |meter| {
        let mut functions = fresh(bench.host, vectors, copies(meter, case))?;
        meter.over(&mut functions, |function| {
            if mode == Mode::Irqfd {
                descriptors.time(|| function.take_descriptors(bench.host, mode))?;
            }
            orders::batch(&mut function.driver(), vectors);
            settle(function, mode)
        })
    })?;
    Ok(measured.with_part("descriptors_median_ns", &descriptors))
}

/// One after the other.
pub(super) fn one_by_one<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    vector_by_vector(bench, case, |driver, vectors, unmask| {
        orders::one_by_one(driver, vectors, unmask);
    })
}

/// As Linux does.
pub(super) fn linux<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    vector_by_vector(bench, case, |driver, vectors, unmask| {
        orders::linux(driver, vectors, unmask);
    })
}

/// Ten devices at once, as when a VM is restored.
pub(super) fn ten_devices<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    let &Case { mode, vectors, .. } = case;
    let each = vectors / DEVICES;
    bench.measure(all_at_once(mode, vectors), |meter| {
        let mut functions = fresh(bench.host, each, DEVICES.into())?;
        meter.once(|| {
            bench.host.together(|| {
                functions.iter_mut().try_for_each(|function| {
                    function.take_descriptors(bench.host, mode)?;
                    orders::batch(&mut function.driver(), each);
                    Outcome::Ok(())
                })
            })?;
            functions.iter_mut().try_for_each(|function| settle(function, mode))
        })
    })
}

/// In irqfd mode the descriptors are there already, and each unmask is timed by itself too.
fn vector_by_vector<H: Host>(
    bench: &Bench<'_, H>,
    case: &Case,
    order: impl Fn(&mut Driver<'_, H>, u16, &mut dyn FnMut(&mut Driver<'_, H>, u16)),
) -> Outcome<Measured> {
    let &Case { mode, vectors, .. } = case;
    let floor = match mode {
        Mode::Signal => Floor::Atomic(vectors),
        Mode::Irqfd => Floor::Bind(vectors),
    };
    let unmask = Part::new();
    let measured = bench.measure(floor, |meter| {
        let mut functions = fresh(bench.host, vectors, copies(meter, case))?;
        for function in &mut functions {
            function.take_descriptors(bench.host, mode)?;
        }
        meter.over(&mut functions, |function| {
            order(&mut function.driver(), vectors, &mut |driver, vector| match mode {
                Mode::Signal => driver.unmask(vector),
                Mode::Irqfd => unmask.time(|| driver.unmask(vector)),
            });
            settle(function, mode)
        })
    })?;
    Ok(measured.with_part("unmask_median_ns", &unmask))
}

fn all_at_once(mode: Mode, vectors: u16) -> Floor {
    match mode {
        Mode::Signal => Floor::Atomic(vectors),
        Mode::Irqfd => Floor::CreateAndBind(vectors),
    }
}

/// In signal mode there is nothing to wait for.
fn settle<H: Host>(function: &mut Function<H>, mode: Mode) -> Outcome {
    if mode == Mode::Irqfd { function.settle() } else { Ok(()) }
}

/// What takes nanoseconds is timed over many functions.
fn copies(meter: &Meter<'_>, case: &Case) -> usize {
    if case.mode == Mode::Irqfd { 1 } else { meter.copies(case.vectors.into()) }
}

fn fresh<H: Host>(host: &H, vectors: u16, functions: usize) -> Outcome<Vec<Function<H>>> {
    (0..functions).map(|_| Function::without_descriptors(host, vectors)).collect()
}
