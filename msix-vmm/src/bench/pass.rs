//! One pass over a workload: its time, or its ioctls.

use super::floors::{Floor, Floors};
use super::host::Host;
use super::ioctls::Ioctls;
use super::measure::{Budget, Lap, Meter, Outcome, Part, Timing, compare};

/// What a workload runs on, and what is wanted of it.
pub(super) struct Bench<'a, H> {
    pub(super) host: &'a H,
    pass: Pass<'a>,
}

/// What is wanted. Never both at once: counting has a cost.
#[derive(Clone, Copy)]
pub(super) enum Pass<'a> {
    Counting,
    Timing { budget: Budget, floors: &'a Floors },
}

/// What a pass came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) timing: Option<Timing>,
    pub(super) ioctls: Ioctls,
    /// Further figures, by their names in JSON.
    pub(super) extras: Vec<(&'static str, f64)>,
}

impl<'a, H: Host> Bench<'a, H> {
    pub(super) fn new(host: &'a H, pass: Pass<'a>) -> Self {
        Self { host, pass }
    }

    /// The same on another host.
    pub(super) fn on<'b, G: Host>(&self, host: &'b G) -> Bench<'b, G>
    where
        'a: 'b,
    {
        Bench { host, pass: self.pass }
    }

    /// Whether ioctls are counted, and nothing is timed.
    pub(super) fn is_counting(&self) -> bool {
        matches!(self.pass, Pass::Counting)
    }

    /// Times laps beside their floor, or counts the ioctls of one.
    pub(super) fn measure<'l>(
        &self,
        floor: Floor,
        lap: impl FnMut(&mut Meter<'_>) -> Outcome + 'l,
    ) -> Outcome<Measured> {
        match self.pass {
            Pass::Counting => self.count(lap),
            Pass::Timing { budget, floors } => {
                Ok(timed(compare(budget, floors.lap(floor)?, Box::new(lap))?))
            }
        }
    }

    /// The same with a floor that is no system call.
    pub(super) fn measure_beside<'l>(
        &self,
        floor: Lap<'l>,
        lap: impl FnMut(&mut Meter<'_>) -> Outcome + 'l,
    ) -> Outcome<Measured> {
        match self.pass {
            Pass::Counting => self.count(lap),
            Pass::Timing { budget, .. } => Ok(timed(compare(budget, floor, Box::new(lap))?)),
        }
    }

    /// For workloads that time in a way of their own: what they need for it, or the ioctls of one lap.
    pub(super) fn by_hand(
        &self,
        lap: impl FnMut(&mut Meter<'_>) -> Outcome,
        time: impl FnOnce(Budget, &Floors) -> Outcome<Measured>,
    ) -> Outcome<Measured> {
        match self.pass {
            Pass::Counting => self.count(lap),
            Pass::Timing { budget, floors } => time(budget, floors),
        }
    }

    fn count(&self, mut lap: impl FnMut(&mut Meter<'_>) -> Outcome) -> Outcome<Measured> {
        let counters = || self.host.ioctls();
        let mut meter = Meter::counting(&counters);
        lap(&mut meter)?;
        Ok(Measured { ioctls: meter.reading().ioctls, ..Measured::default() })
    }
}

impl Measured {
    /// Adds a further figure.
    pub(super) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.extras.push((name, value));
        self
    }

    /// Adds what a part took, if it and the whole were timed.
    pub(super) fn with_part(self, name: &'static str, part: &Part) -> Self {
        match (part.median(), self.timing) {
            (Some(median), Some(_)) => self.with(name, median),
            _ => self,
        }
    }
}

fn timed(timing: Timing) -> Measured {
    Measured { timing: Some(timing), ..Measured::default() }
}
