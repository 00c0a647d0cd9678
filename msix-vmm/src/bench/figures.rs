//! The figures that are wanted, and whether a row reaches them. None fails anything: machines differ.

use std::fmt;
use std::ops::RangeInclusive;

use super::plan::{Driver, Mode};
use super::row::Row;

/// One figure of a row.
pub(super) struct Figure {
    seen: String,
    wanted: &'static str,
    pub(super) met: bool,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.met { "ok" } else { "over" };
        write!(f, "{} (wanted {}) {verdict}", self.seen, self.wanted)
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
    let rate = match row.case.mode {
        Mode::Signal => at_least(row.extra("rate_ratio"), 0.9, ">= 0.9", "x rate"),
        Mode::Irqfd => None,
    };
    vec![
        at_most(row.extra("p99_ratio"), 1.2, "<= 1.2", "x p99"),
        at_most(row.extra("p999_ratio"), 1.2, "<= 1.2", "x p99.9"),
        rate,
    ]
}

fn no_ioctl_in_signal_mode(row: &Row) -> Vec<Option<Figure>> {
    if row.case.mode == Mode::Signal { no_ioctl(row) } else { Vec::new() }
}

fn no_ioctl(row: &Row) -> Vec<Option<Figure>> {
    let met = row.ioctls.is_none();
    let seen = if met { "no ioctl".to_owned() } else { format!("ioctls {}", row.ioctls) };
    vec![Some(Figure { seen, wanted: "none", met })]
}

fn commits(row: &Row, wanted: RangeInclusive<u64>, said: &'static str) -> Option<Figure> {
    let commits = row.ioctls.set_gsi_routing;
    let plural = if commits == 1 { "" } else { "s" };
    let met = wanted.contains(&commits);
    Some(Figure { seen: format!("{commits} commit{plural}"), wanted: said, met })
}

fn at_most(seen: Option<f64>, most: f64, wanted: &'static str, unit: &str) -> Option<Figure> {
    seen.map(|seen| Figure { seen: number(seen, unit), wanted, met: seen <= most })
}

fn at_least(seen: Option<f64>, least: f64, wanted: &'static str, unit: &str) -> Option<Figure> {
    seen.map(|seen| Figure { seen: number(seen, unit), wanted, met: seen >= least })
}

fn number(seen: f64, unit: &str) -> String {
    if seen >= 10.0 { format!("{seen:.0}{unit}") } else { format!("{seen:.2}{unit}") }
}
