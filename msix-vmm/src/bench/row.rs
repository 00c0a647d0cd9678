//! One row of the report.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::figures;
use super::ioctls::Ioctls;
use super::measure::Timing;
use super::pass::Measured;
use super::plan::{By, Case, Driver, Mode};

/// What was measured of a workload. Without a timing where only ioctls were counted.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) case: Case,
    pub(super) median_ns: Option<f64>,
    pub(super) p99_ns: Option<f64>,
    pub(super) floor_ns: Option<f64>,
    pub(super) ratio: Option<f64>,
    #[serde(flatten)]
    pub(super) ioctls: Ioctls,
    #[serde(flatten)]
    extras: BTreeMap<&'static str, f64>,
}

/// The titles of the columns.
pub(super) const TITLES: [&str; 10] =
    ["workload", "mode", "n", "threads", "median", "p99", "floor", "ratio", "ioctls", "figures"];

impl Row {
    pub(super) fn new(case: Case, measured: Measured) -> Self {
        let Measured { timing, ioctls, extras } = measured;
        let of = |value: fn(&Timing) -> f64| timing.as_ref().map(value);
        Self {
            case,
            median_ns: of(|timing| timing.median_ns),
            p99_ns: of(|timing| timing.p99_ns),
            floor_ns: of(|timing| timing.floor_ns),
            ratio: of(|timing| timing.ratio),
            ioctls,
            extras: extras.into_iter().collect(),
        }
    }

    /// A further figure.
    pub(super) fn extra(&self, name: &str) -> Option<f64> {
        self.extras.get(name).copied()
    }

    /// The median, shared out.
    pub(super) fn per_vector(&self) -> Option<f64> {
        self.median_ns.map(|median| median / f64::from(self.case.vectors))
    }

    /// For tables with a row in a cell.
    pub(super) fn median_and_ratio(&self) -> String {
        let [.., median, _, _, ratio, _, _] = self.cells();
        format!("{median} ({ratio})")
    }

    /// The workload, and what sets it apart from its neighbours.
    pub(super) fn name(&self) -> String {
        let apart = match (self.case.driver, self.case.by) {
            (Some(Driver::Guest), _) => " (guest)",
            (_, Some(By::Enable)) => " (Enable)",
            (_, Some(By::FunctionMask)) => " (Function Mask)",
            (_, Some(By::Neighbour)) => " (next)",
            (_, Some(By::Distant)) => " (far)",
            _ => "",
        };
        format!("{}{apart}", self.case.workload)
    }

    /// What the columns hold, as people read it.
    pub(super) fn cells(&self) -> [String; 10] {
        let Case { mode, vectors, threads, .. } = self.case;
        let ratio = self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let figures: Vec<_> = figures::of(self).iter().map(ToString::to_string).collect();
        [
            self.name(),
            mode.to_string(),
            vectors.to_string(),
            threads.to_string(),
            time(self.median_ns),
            time(self.p99_ns),
            time(self.floor_ns),
            ratio,
            self.ioctls.to_string(),
            [figures.join(", "), self.remarks()].join("  ").trim().to_owned(),
        ]
    }

    /// Further figures of which nothing in particular is wanted.
    fn remarks(&self) -> String {
        let show = |&(name, said): &(&str, &str)| {
            self.extra(name).map(|value| match name.ends_with("_ns") {
                true => format!("{said} {}", time(Some(value))),
                false => format!("{said} {value:.2}"),
            })
        };
        let shown: Vec<_> = REMARKS.iter().filter_map(show).collect();
        shown.join(", ")
    }
}

/// How figures of their own are called in the report for people.
const REMARKS: [(&str, &str); 11] = [
    ("unmask_median_ns", "one unmask"),
    ("descriptors_median_ns", "the descriptors"),
    ("vcpu_median_ns", "the guest waits"),
    ("mean_ns", "mean"),
    ("p999_ns", "p99.9"),
    ("alone_p99_ns", "alone: p99"),
    ("alone_p999_ns", "p99.9"),
    ("control_p99_ratio", "control: p99 x"),
    ("control_p999_ratio", "p99.9 x"),
    ("control_rate_ratio", "rate x"),
    ("floor_scaling", "the floor scales by"),
];

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "signal",
            Self::Irqfd => "irqfd",
        })
    }
}

/// A time, to three digits.
fn time(nanoseconds: Option<f64>) -> String {
    let Some(nanoseconds) = nanoseconds else {
        return String::new();
    };
    let (value, unit) = match nanoseconds {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns => (ns / 1e6, "ms"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_to_three_digits() {
        let shown = [4.123, 56.78, 999.0, 1_500.0, 71_230.0, 12_000_000.0].map(|ns| time(Some(ns)));
        assert_eq!(shown, ["4.12 ns", "56.8 ns", "999 ns", "1.50 us", "71.2 us", "12.0 ms"]);
        assert_eq!(time(None), "");
    }
}
