//! The benches: what things cost beside the least that they could cost, and the ioctls that they make.
//!
//! A [workload](plan::Workload) runs twice: once on a host that counts its ioctls, once on one that does not,
//! against the clock, in turns with its [floor](floors::Floor).

mod beside;
mod bring_up;
mod figures;
mod floors;
mod guest;
mod host;
mod ioctls;
mod life;
mod masks;
mod measure;
mod memory;
mod orders;
mod pass;
mod plan;
mod registers;
mod report;
mod rig;
mod row;
mod triggers;
mod vm;

use std::io;

use crate::cli::BenchArgs;
use floors::Floors;
use host::{Host, NoHost};
use measure::{Budget, Outcome};
use pass::{Bench, Measured, Pass};
pub(crate) use plan::Mode;
use plan::{Case, Workload};
use report::{Format, Report};
use rig::{Counting, KvmHost};
use row::Row;
use vm::BareVm;

/// Runs what is asked for, and tells whether everything could be run. No figure fails it.
pub(crate) fn run(args: &BenchArgs) -> io::Result<bool> {
    match BareVm::new() {
        Ok(vm) => {
            let host = |counting| {
                KvmHost::new(counting).map_err(|error| io::Error::other(error.to_string()))
            };
            let mut workloads = plan::on_any_host();
            // Not where ioctls are compared to what the kernel saw: a guest is woken by ioctls of its own.
            if !args.count {
                workloads.insert(GUEST_AFTER, plan::on_a_guest());
            }
            let hosts = [host(Counting::On)?, host(Counting::Off)?];
            run_on(args, "KVM", hosts, &Floors::new(Some(vm)), &workloads)
        }
        Err(error) => {
            let delivery = format!("no KVM ({error}): signal mode to a sender that does nothing");
            let hosts = [NoHost, NoHost];
            run_on(args, &delivery, hosts, &Floors::new(None), &plan::on_any_host())
        }
    }
}

/// Counts, or counts and times, on a host each.
fn run_on<H: Host>(
    args: &BenchArgs,
    delivery: &str,
    [counting, timing]: [H; 2],
    floors: &Floors,
    workloads: &[Workload<H>],
) -> io::Result<bool> {
    expect_some(args, workloads)?;
    let report = Report::begin(Format::of(args), delivery)?;
    match args.count {
        true => count(args, report, counting, workloads),
        false => bench(args, report, &[counting, timing], floors, workloads),
    }
}

/// Refuses a beginning that no name has, rather than measure nothing.
fn expect_some<H: Host>(args: &BenchArgs, workloads: &[Workload<H>]) -> io::Result<()> {
    let Some(only) = &args.only else { return Ok(()) };
    let mut names: Vec<_> = workloads.iter().map(|workload| workload.name).collect();
    names.push(memory::WORKLOAD);
    if names.iter().any(|name| name.starts_with(only.as_str())) {
        return Ok(());
    }
    names.sort_unstable();
    names.dedup();
    let what = format!("no workload begins with {only:?}: there are {}", names.join(", "));
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// The guest's bring-up comes after those of the host.
const GUEST_AFTER: usize = 4;

/// Counts and times every workload.
fn bench<H: Host>(
    args: &BenchArgs,
    mut report: Report,
    [counting, timing]: &[H; 2],
    floors: &Floors,
    workloads: &[Workload<H>],
) -> io::Result<bool> {
    let budget = if args.quick { Budget::QUICK } else { Budget::FULL };
    let counted = Bench::new(counting, Pass::Counting);
    let timed = Bench::new(timing, Pass::Timing { budget, floors });
    let mut complete = true;
    if let Some(row) = memory_row(args, timing) {
        report.push(row)?;
    }
    for (workload, case) in cases(args, workloads, timing.is_kvm()) {
        complete &= measure(&mut report, &case, || {
            let ioctls = (workload.run)(&counted, &case)?.ioctls;
            Ok(Measured { ioctls, ..(workload.run)(&timed, &case)? })
        })?;
    }
    report.end()?;
    Ok(complete)
}

/// Only counts, for whoever wants to compare it to what the kernel saw.
fn count<H: Host>(
    args: &BenchArgs,
    mut report: Report,
    host: H,
    workloads: &[Workload<H>],
) -> io::Result<bool> {
    let counted = Bench::new(&host, Pass::Counting);
    let mut complete = true;
    for (workload, case) in cases(args, workloads, host.is_kvm()) {
        complete &= measure(&mut report, &case, || (workload.run)(&counted, &case))?;
    }
    report.end_counting(host.finish())?;
    Ok(complete)
}

fn cases<'a, H: Host>(
    args: &'a BenchArgs,
    workloads: &'a [Workload<H>],
    kvm: bool,
) -> impl Iterator<Item = (&'a Workload<H>, Case)> {
    let of = move |workload: &'a Workload<H>| {
        workload.cases(args, kvm).into_iter().map(move |case| (workload, case))
    };
    workloads.iter().flat_map(of)
}

/// Measures a row; tells whether it could be.
fn measure(
    report: &mut Report,
    case: &Case,
    work: impl FnOnce() -> Outcome<Measured>,
) -> io::Result<bool> {
    let what = format!("{}, {} mode, {} vectors", case.workload, case.mode, case.vectors);
    report.announce(&what);
    match work() {
        Ok(measured) => report.push(Row::new(*case, measured))?,
        Err(error) => {
            report.failed(&what, &*error);
            return Ok(false);
        }
    }
    Ok(true)
}

/// What idle vectors weigh, if that is asked for.
fn memory_row<H: Host>(args: &BenchArgs, host: &H) -> Option<Row> {
    let asked = memory::WORKLOAD.starts_with(args.only.as_deref().unwrap_or_default())
        && args.mode != Some(Mode::Irqfd);
    let functions = if args.quick { 500 } else { 10_000 };
    let bytes = asked.then(|| memory::per_vector(host, functions).ok()).flatten()?;
    let case = Case {
        workload: memory::WORKLOAD,
        mode: Mode::Signal,
        vectors: memory::VECTORS,
        threads: 1,
        driver: None,
        by: None,
    };
    Some(Row::new(case, Measured::default().with("bytes_per_vector", bytes)))
}
