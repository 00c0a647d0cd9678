//! Measuring: something beside its floor, in turns of short laps, so that what else the machine does meets both.

use std::cell::RefCell;
use std::error::Error;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::ioctls::Ioctls;

/// What comes of a workload.
pub(super) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Prepares something, has the meter measure it, and clears it away.
pub(super) type Lap<'a> = Box<dyn FnMut(&mut Meter<'_>) -> Outcome + 'a>;

/// How long one row may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// For all its laps together, what they prepare included.
    pub(super) row: Duration,
    /// What one lap shall measure, if the workload can be repeated: far above the clock's own cost, far below
    /// the time between disturbances.
    pub(super) lap: Duration,
    /// So many laps come before the time is looked at.
    pub(super) min_laps: usize,
}

impl Budget {
    /// Enough for figures.
    pub(super) const FULL: Self =
        Self { row: Duration::from_millis(300), lap: Duration::from_micros(50), min_laps: 5 };
    /// Enough to see that it runs.
    pub(super) const QUICK: Self =
        Self { row: Duration::ZERO, lap: Duration::from_micros(5), min_laps: 2 };
}

/// Measures the part of a lap that is handed to it: its time, or the ioctls that it makes.
pub(super) struct Meter<'a> {
    ioctls: Option<&'a dyn Fn() -> Ioctls>,
    batch: usize,
    reading: Reading,
}

/// What a lap came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// Of one operation.
    nanoseconds: f64,
    /// Of all that were measured together.
    total: Duration,
    /// Whether a larger batch would make the lap longer.
    repeats: bool,
    /// Of all that were measured together.
    pub(super) ioctls: Ioctls,
}

impl<'a> Meter<'a> {
    fn timing(batch: usize) -> Self {
        Self { ioctls: None, batch, reading: Reading::default() }
    }

    /// Reads these counters; everything happens once.
    pub(super) fn counting(ioctls: &'a dyn Fn() -> Ioctls) -> Self {
        Self { ioctls: Some(ioctls), batch: 1, reading: Reading::default() }
    }

    /// What the last measured part came to.
    pub(super) fn reading(&self) -> Reading {
        self.reading
    }

    /// How many copies to prepare of something that can be done only once and takes about so many small steps.
    pub(super) fn copies(&self, steps: usize) -> usize {
        const STEPS: usize = 256;
        if self.ioctls.is_some() { 1 } else { (STEPS / steps.max(1)).max(1) }
    }

    /// Measures something that is done to each copy; the reading is that of one.
    pub(super) fn over<T>(
        &mut self,
        copies: &mut [T],
        mut work: impl FnMut(&mut T) -> Outcome,
    ) -> Outcome {
        self.measure(copies.len(), || copies.iter_mut().try_for_each(&mut work))
    }

    /// Measures something once.
    pub(super) fn once<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.measure(1, work)
    }

    /// Measures something that can be done over and over.
    pub(super) fn repeat(&mut self, mut work: impl FnMut()) {
        let batch = self.batch;
        self.measure(batch, || (0..batch).for_each(|_| work()));
        self.reading.repeats = true;
    }

    fn measure<T>(&mut self, operations: usize, work: impl FnOnce() -> T) -> T {
        let before = self.count();
        let start = Instant::now();
        let result = work();
        let total = start.elapsed();
        let nanoseconds = total.as_secs_f64() * 1e9 / operations as f64;
        let ioctls = self.count() - before;
        self.reading = Reading { nanoseconds, total, repeats: false, ioctls };
        result
    }

    fn count(&self) -> Ioctls {
        self.ioctls.map(|ioctls| ioctls()).unwrap_or_default()
    }
}

/// Something beside its floor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) median_ns: f64,
    pub(super) p99_ns: f64,
    pub(super) floor_ns: f64,
    /// The median of the ratios of neighbouring laps, unless a workload says otherwise.
    pub(super) ratio: f64,
}

/// Times both, in turns.
pub(super) fn compare(budget: Budget, floor: Lap<'_>, ours: Lap<'_>) -> Outcome<Timing> {
    let mut floor = Paced::new(floor, budget)?;
    let mut ours = Paced::new(ours, budget)?;
    let (mut least, mut taken, mut ratios) = (Samples::new(), Samples::new(), Vec::new());
    let start = Instant::now();
    while ratios.len() < budget.min_laps || start.elapsed() < budget.row {
        let (floor, ours) = (floor.lap()?, ours.lap()?);
        least.add(floor);
        taken.add(ours);
        ratios.push(ours / floor);
    }
    Ok(Timing {
        median_ns: taken.quantile(0.5),
        p99_ns: taken.quantile(0.99),
        floor_ns: least.quantile(0.5),
        ratio: median(&mut ratios),
    })
}

/// Laps of the length that a budget asks for.
struct Paced<'a> {
    lap: Lap<'a>,
    batch: usize,
}

impl<'a> Paced<'a> {
    /// Repetitions in a lap, at most.
    const MOST: usize = 1 << 20;

    /// Finds the batch, which warms everything up too.
    fn new(lap: Lap<'a>, budget: Budget) -> Outcome<Self> {
        let mut paced = Self { lap, batch: 1 };
        loop {
            let reading = paced.read()?;
            if !reading.repeats || reading.total >= budget.lap || paced.batch >= Self::MOST {
                return Ok(paced);
            }
            paced.batch *= 2;
        }
    }

    fn lap(&mut self) -> Outcome<f64> {
        Ok(self.read()?.nanoseconds)
    }

    fn read(&mut self) -> Outcome<Reading> {
        let mut meter = Meter::timing(self.batch);
        (self.lap)(&mut meter)?;
        Ok(meter.reading)
    }
}

/// Nanoseconds, as many as there are, to three digits.
pub(super) struct Samples(Histogram<u64>);

/// The histogram counts integers, and an atomic step takes four nanoseconds.
const PICOSECONDS: f64 = 1e3;

impl Samples {
    pub(super) fn new() -> Self {
        Self(Histogram::new(3).expect("three digits are possible"))
    }

    pub(super) fn add(&mut self, nanoseconds: f64) {
        // It grows as it must.
        let _ = self.0.record((nanoseconds * PICOSECONDS) as u64);
    }

    pub(super) fn quantile(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / PICOSECONDS
    }

    pub(super) fn mean(&self) -> f64 {
        self.0.mean() / PICOSECONDS
    }
}

/// Times a part of what laps measure, by itself.
pub(super) struct Part(RefCell<Samples>);

impl Part {
    pub(super) fn new() -> Self {
        Self(RefCell::new(Samples::new()))
    }

    pub(super) fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.0.borrow_mut().add(start.elapsed().as_secs_f64() * 1e9);
        result
    }

    /// Nothing if it was never timed.
    pub(super) fn median(&self) -> Option<f64> {
        let samples = self.0.borrow();
        (!samples.0.is_empty()).then(|| samples.quantile(0.5))
    }
}

/// The middle one; not a number if there is none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counting_meter_runs_once_and_reads_the_difference() {
        let made = std::cell::Cell::new(7);
        let counters = || Ioctls { signal_msi: made.get(), ..Ioctls::default() };
        let mut meter = Meter::counting(&counters);
        meter.repeat(|| made.set(made.get() + 1));
        assert_eq!(meter.reading().ioctls.signal_msi, 1);
        assert_eq!(meter.copies(1), 1);
    }

    #[test]
    fn a_lap_that_is_long_enough_is_not_repeated() {
        const NAP: Duration = Duration::from_micros(100);
        let lap: Lap<'_> = Box::new(|meter| {
            // As long as this, or longer.
            meter.repeat(|| std::thread::sleep(NAP));
            Ok(())
        });
        let mut paced = Paced::new(lap, Budget { lap: NAP, ..Budget::QUICK }).unwrap();
        assert_eq!(paced.batch, 1);
        assert!(paced.lap().unwrap() >= 1e5);
    }

    #[test]
    fn a_lap_that_is_too_short_is_repeated_until_that_is_enough() {
        let lap: Lap<'_> = Box::new(|meter| {
            meter.repeat(|| {});
            Ok(())
        });
        let budget = Budget { lap: Duration::MAX, ..Budget::QUICK };
        assert_eq!(Paced::new(lap, budget).unwrap().batch, Paced::MOST);
    }

    #[test]
    fn samples_keep_three_digits_below_a_nanosecond() {
        let mut samples = Samples::new();
        [0.25, 0.5, 123_000.0].into_iter().for_each(|value| samples.add(value));
        assert!((samples.quantile(0.5) - 0.5).abs() < 1e-3);
        assert!((samples.quantile(1.0) - 123_000.0).abs() < 123.0);
        assert!(median(&mut []).is_nan());
    }
}
