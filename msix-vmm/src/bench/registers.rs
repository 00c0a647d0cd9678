//! Register accesses, without the exit that brings them. None may depend on the number of vectors.

use std::hint::black_box;

use super::floors::Floor;
use super::host::{Function, Host};
use super::measure::Outcome;
use super::orders;
use super::pass::{Bench, Measured};
use super::plan::{Case, Mode};

/// Reads a DWORD of the table.
pub(super) fn table_read<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    measure(bench, case, Floor::Atomic(1), |function| {
        let mut data = [0; 4];
        function.msix.read_msix_table(black_box(message_data(case)), &mut data);
        black_box(data);
    })
}

/// Writes a DWORD of a masked entry.
pub(super) fn table_write<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    let mut value = 0_u32;
    measure(bench, case, Floor::Atomic(1), |function| {
        value = value.wrapping_add(1);
        black_box(
            function.msix.write_msix_table(black_box(message_data(case)), &value.to_le_bytes()),
        );
    })
}

/// Reads the capability's first DWORD, which has Message Control.
pub(super) fn capability_read<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    measure(bench, case, Floor::Atomic(1), |function| {
        black_box(function.msix.read_msix_capability(black_box(0)));
    })
}

/// Reads 64 Pending Bits. In irqfd mode they are the counters of 64 eventfds.
pub(super) fn pba_read<H: Host>(bench: &Bench<'_, H>, case: &Case) -> Outcome<Measured> {
    let floor = match case.mode {
        Mode::Signal => Floor::Atomic(1),
        Mode::Irqfd => Floor::Poll(case.vectors.min(64)),
    };
    measure(bench, case, floor, |function| {
        let mut data = [0; 8];
        function.msix.read_pba_entries(black_box(0), &mut data);
        black_box(data);
    })
}

/// Under Function Mask: vectors are closed, so that writes change no route and Pending Bits have a meaning.
fn measure<H: Host>(
    bench: &Bench<'_, H>,
    case: &Case,
    floor: Floor,
    mut access: impl FnMut(&mut Function<H>),
) -> Outcome<Measured> {
    let mut function = Function::new(bench.host, case.mode, case.vectors)?;
    orders::batch(&mut function.driver(), case.vectors);
    function.driver().mask_function();
    function.settle()?;
    bench.measure(floor, |meter| {
        meter.repeat(|| access(&mut function));
        Ok(())
    })
}

/// The offset of Message Data of the last entry.
fn message_data(case: &Case) -> u64 {
    u64::from(case.vectors - 1) * 16 + 8
}
