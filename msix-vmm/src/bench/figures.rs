//! The figures that are wanted, and whether a row reaches them. None fails anything: machines differ.

use std::fmt;
use std::ops::RangeInclusive;

use super::plan::{Driver, Mode};
use super::row::Row;

/// One figure of a row.
pub(super) struct Figure {
    seen: String,
    wanted: &'static str,
    met: bool,
    /// Whether a control, in which we have no part, misses it too.
    beyond_us: bool,
}

impl Figure {
    fn new(seen: String, wanted: &'static str, met: bool) -> Self {
        Self { seen, wanted, met, beyond_us: false }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seen, wanted, met, beyond_us } = self;
        let verdict = match (met, beyond_us) {
            (true, _) => "ok",
            (false, true) => "over, and so is the control",
            (false, false) => "over",
        };
        write!(f, "{seen} (wanted {wanted}) {verdict}")
    }
}

/// What is wanted of a row.
pub(super) fn of(row: &Row) -> Vec<Figure> {
    let figures = match row.case.workload {
        "memory" => vec![at_most(row.extra("bytes_per_vector"), 64.0, "<= 64", " bytes/vector")],
        "bring-up/batch" | "bring-up/ten-devices" | "restore" => at_once(row),
        "bring-up/one-by-one" | "bring-up/linux" => vector_by_vector(row),
        "mask-pair" => mask_pair(row),
        "affinity" => no_ioctl_in_signal_mode(row),
        "trigger/open" | "trigger/masked" | "trigger/function-masked" => trigger(row),
        "trigger/beside-other-mask" => beside(row),
        "pba-read" | "table-read" | "table-write" | "capability-read" => no_ioctl(row),
        _ => Vec::new(),
    };
    figures.into_iter().flatten().collect()
}

fn at_once(row: &Row) -> Vec<Option<Figure>> {
    match row.case.mode {
        Mode::Signal if row.case.workload == "restore" => {
            let mut figures = no_ioctl(row);
            figures.push(at_most(row.per_vector(), 30.0, "<= 30", " ns/vector"));
            figures
        }
        Mode::Signal => no_ioctl(row),
        Mode::Irqfd => {
            let mut figures = vec![commits(row, 1..=1, "1")];
            if row.case.vectors == 2048 {
                figures.push(at_most(row.ratio, 1.3, "<= 1.3", "x"));
            }
            figures
        }
    }
}

fn vector_by_vector(row: &Row) -> Vec<Option<Figure>> {
    let linux_order = row.case.workload == "bring-up/linux";
    match row.case.mode {
        _ if row.case.driver == Some(Driver::Guest) => Vec::new(),
        Mode::Signal => {
            let mut figures = no_ioctl(row);
            if linux_order {
                figures.push(at_most(row.per_vector(), 120.0, "<= 120", " ns/vector"));
            }
            figures
        }
        Mode::Irqfd if row.case.vectors == 2048 => vec![
            commits(row, 1..=64, "<= 64"),
            at_most(row.extra("unmask_median_ns"), 2000.0, "<= 2000", " ns/unmask"),
            at_most(row.ratio, 5.0, "<= 5", "x"),
        ],
        Mode::Irqfd => Vec::new(),
    }
}

fn mask_pair(row: &Row) -> Vec<Option<Figure>> {
    match row.case.mode {
        Mode::Signal => {
            let mut figures = no_ioctl(row);
            figures.push(at_most(row.ratio, 8.0, "<= 8", "x"));
            figures
        }
        Mode::Irqfd => vec![at_most(row.ratio, 1.1, "<= 1.1", "x")],
    }
}

fn trigger(row: &Row) -> Vec<Option<Figure>> {
    let open = row.case.workload == "trigger/open";
    match (row.case.threads, open) {
        (1, true) => vec![at_most(row.ratio, 1.05, "<= 1.05", "x")],
        (1, false) => {
            let mut figures = no_ioctl(row);
            figures.push(at_most(row.ratio, 1.5, "<= 1.5", "x"));
            figures
        }
        (_, true) => vec![at_least(row.ratio, 0.95, ">= 0.95", "x the floor's scaling")],
        (_, false) => no_ioctl(row),
    }
}

fn beside(row: &Row) -> Vec<Option<Figure>> {
    let of = |name: &str, control: &str, figure: fn(Option<f64>) -> Option<Figure>| {
        let bare_misses = figure(row.extra(control)).is_some_and(|bare| !bare.met);
        figure(row.extra(name)).map(|ours| Figure { beyond_us: bare_misses, ..ours })
    };
    let p99 = of("p99_ratio", "control_p99_ratio", |seen| at_most(seen, 1.2, "<= 1.2", "x p99"));
    let p999 =
        of("p999_ratio", "control_p999_ratio", |seen| at_most(seen, 1.2, "<= 1.2", "x p99.9"));
    let rate =
        of("rate_ratio", "control_rate_ratio", |seen| at_least(seen, 0.9, ">= 0.9", "x rate"));
    vec![p99, p999, rate.filter(|_| row.case.mode == Mode::Signal)]
}

fn no_ioctl_in_signal_mode(row: &Row) -> Vec<Option<Figure>> {
    if row.case.mode == Mode::Signal { no_ioctl(row) } else { Vec::new() }
}

fn no_ioctl(row: &Row) -> Vec<Option<Figure>> {
    let met = row.ioctls.is_none();
    let seen = if met { "no ioctl".to_owned() } else { format!("ioctls {}", row.ioctls) };
    vec![Some(Figure::new(seen, "none", met))]
}

fn commits(row: &Row, wanted: RangeInclusive<u64>, said: &'static str) -> Option<Figure> {
    let commits = row.ioctls.set_gsi_routing;
    let plural = if commits == 1 { "" } else { "s" };
    let met = wanted.contains(&commits);
    Some(Figure::new(format!("{commits} commit{plural}"), said, met))
}

fn at_most(seen: Option<f64>, most: f64, wanted: &'static str, unit: &str) -> Option<Figure> {
    seen.map(|seen| Figure::new(number(seen, unit), wanted, seen <= most))
}

fn at_least(seen: Option<f64>, least: f64, wanted: &'static str, unit: &str) -> Option<Figure> {
    seen.map(|seen| Figure::new(number(seen, unit), wanted, seen >= least))
}

fn number(seen: f64, unit: &str) -> String {
    if seen >= 10.0 { format!("{seen:.0}{unit}") } else { format!("{seen:.2}{unit}") }
}
