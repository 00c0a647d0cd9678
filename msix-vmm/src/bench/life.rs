//! What happens to a whole function: saved, restored, switched off, gone.

use std::hint::black_box;

use super::floors::Floor;
use super::host::{Function, Host};
use super::measure::{Outcome, Part};
use super::orders;
use super::pass::{Bench, Measured};
use super::plan::{By, Case, Mode};

/// Takes the state of a function that is closed, as a paused one is.
pub(super) fn snapshot<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    let floor = match case.mode {
        Mode::Signal => Floor::Atomic(case.vectors),
        Mode::Irqfd => Floor::Poll(case.vectors),
    };
    let mut function = up(bench, case)?;
    function.msix.pause();
    bench.measure(floor, |meter| {
        meter.repeat(|| drop(black_box(function.msix.snapshot())));
        Ok(())
    })
}

/// Restores into a new function, until it is as the state says. In irqfd mode with everything that it takes, the
/// descriptors included.
pub(super) fn restore<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    let &Case { mode, vectors, .. } = case;
    let floor = match mode {
        Mode::Signal => Floor::Atomic(vectors),
        Mode::Irqfd => Floor::CreateAndBind(vectors),
    };
    let state = up(bench, case)?.msix.snapshot();
    let descriptors = Part::new();
    let measured = bench.measure(floor, |meter| {
        let mut function = Function::without_descriptors(bench.host, vectors)?;
        meter.once(|| match mode {
            Mode::Signal => Ok(function.msix.restore(&state)?),
            Mode::Irqfd => {
                descriptors.time(|| function.take_descriptors(bench.host, mode))?;
                function.msix.restore(&state)?;
                function.settle()
            }
        })
    })?;
    Ok(measured.with_part("descriptors_median_ns", &descriptors))
}

/// Closes every vector at once by one write of Message Control. C4 wants all of them silent when it returns.
pub(super) fn disable<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    let mut function = up(bench, case)?;
    bench.measure(closing(case), |meter| {
        meter.once(|| match case.by {
            Some(By::Enable) => function.driver().disable(),
            _ => function.driver().mask_function(),
        });
        function.driver().enable();
        function.driver().unmask_function();
        function.settle()
    })
}

/// Ends a function whose vectors are open.
pub(super) fn destroy<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    bench.measure(closing(case), |meter| {
        let mut function = up(bench, case)?;
        meter.once(|| function.msix.destroy());
        Ok(())
    })
}

fn closing(case: &Case) -> Floor {
    match case.mode {
        Mode::Signal => Floor::Atomic(case.vectors),
        Mode::Irqfd => Floor::Unbind(case.vectors),
    }
}

/// A function with every vector open.
fn up<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Function<H>> {
    let mut function = Function::new(bench.host, case.mode, case.vectors)?;
    orders::batch(&mut function.driver(), case.vectors);
    function.settle()?;
    Ok(function)
}
