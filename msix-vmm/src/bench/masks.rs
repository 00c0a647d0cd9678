//! What a guest does to a vector that is up: masks it, unmasks it, moves it to another CPU.

use vm_msix::MsiBackend;

use super::floors::Floor;
use super::host::{Function, Host, message};
use super::measure::{Outcome, Part};
use super::orders;
use super::pass::{Bench, Measured};
use super::plan::{Case, Mode};

/// Masks and unmasks a vector; in irqfd mode, until KVM listens again.
pub(super) fn pair<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    let floor = match case.mode {
        Mode::Signal => Floor::Atomic(1),
        Mode::Irqfd => Floor::Rebind(case.vectors),
    };
    measure(bench, case, floor, |function| {
        set_mask(function, 0, Mask::Set);
        set_mask(function, 0, Mask::Clear);
    })
}

/// Masks a vector, writes another message, and unmasks it; in irqfd mode, until KVM listens again.
pub(super) fn affinity<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    let floor = match case.mode {
        Mode::Signal => Floor::Atomic(1),
        Mode::Irqfd => Floor::Reroute(case.vectors),
    };
    let mut salt = 0;
    measure(bench, case, floor, |function| {
        salt += 1;
        function.driver().change_affinity(0, message(0, salt));
    })
}

/// Times the change with what it defers, and, in irqfd mode, the guest's part of it by itself.
fn measure<H: Host>(
    bench: &Bench<'_, H>,
    case: &Case,
    floor: Floor,
    mut change: impl FnMut(&mut Function<H>),
) -> Outcome<Measured> {
    let mut function = Function::new(bench.host, case.mode, case.vectors)?;
    orders::batch(&mut function.driver(), case.vectors);
    function.settle()?;
    let guest = Part::new();
    let measured = bench.measure(floor, |meter| {
        match case.mode {
            Mode::Signal => meter.repeat(|| change(&mut function)),
            Mode::Irqfd => meter.repeat(|| {
                guest.time(|| change(&mut function));
                // The backend's alone: that of the registers looks at every vector.
                function.msix.backend().flush();
            }),
        }
        Ok(())
    })?;
    Ok(measured.with_part("vcpu_median_ns", &guest))
}

/// What happens to a Mask Bit.
#[derive(Clone, Copy)]
pub(super) enum Mask {
    Clear = 0,
    Set = 1,
}

/// Writes the Mask Bit of a vector, and nothing else.
pub(super) fn set_mask<H: Host>(function: &mut Function<H>, vector: u16, mask: Mask) {
    let vector_control = u64::from(vector) * 16 + 12;
    function.msix.write_msix_table(vector_control, &(mask as u32).to_le_bytes());
}
