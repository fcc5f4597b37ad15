//! How values are distributed, counted without locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of times, in seconds: from a probe's answer to a caller's patience.
static SECONDS: [f64; 16] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10., 30., 60., 120.];
/// Upper bounds of numbers of things.
static COUNTS: [f64; 9] = [1., 2., 4., 8., 16., 32., 64., 128., 256.];

/// Times are summed in whole microseconds: an atomic number has no fractions.
const MICROS_PER_SECOND: f64 = 1e6;

/// A distribution of times or of counts.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// What one of the sum's units is.
    unit: f64,
    /// For each bound, values up to it and above the one before; the last are those above all bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A distribution at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistogramSnapshot {
    /// Upper bounds with the number of values up to each.
    pub cumulative: Vec<(f64, u64)>,
    /// All values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Histogram {
    /// A distribution of times.
    pub fn of_seconds() -> Self {
        Self::new(&SECONDS, MICROS_PER_SECOND.recip())
    }

    /// A distribution of counts.
    pub fn of_counts() -> Self {
        Self::new(&COUNTS, 1.)
    }

    fn new(bounds: &'static [f64], unit: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, unit, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        self.add(time.as_secs_f64(), u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts a count.
    pub fn observe_count(&self, count: usize) {
        self.add(count as f64, count as u64);
    }

    fn add(&self, value: f64, units: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(units, Ordering::Relaxed);
    }

    /// What was counted so far. Its count is that of its buckets, whatever is counted meanwhile.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut count = 0;
        let mut up_to = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        // The last bucket has no bound, so it is counted for itself.
        let cumulative = self.bounds.iter().zip(&self.counts).map(|(bound, bucket)| (*bound, up_to(bucket))).collect();
        let count = self.counts.last().map_or(0, up_to);
        HistogramSnapshot { cumulative, count, sum: self.sum.load(Ordering::Relaxed) as f64 * self.unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_all_values_up_to_their_bound() {
        let histogram = Histogram::of_counts();
        for count in [0, 1, 2, 3, 256, 257, 100_000] {
            histogram.observe_count(count);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.cumulative[..4], [(1., 2), (2., 3), (4., 4), (8., 4)]);
        assert_eq!(snapshot.cumulative.last(), Some(&(256., 5)));
        assert_eq!((snapshot.count, snapshot.sum), (7, 100_519.));
    }

    #[test]
    fn times_are_summed_in_seconds() {
        let histogram = Histogram::of_seconds();
        histogram.observe(Duration::from_millis(1500));
        histogram.observe(Duration::from_micros(500));
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count, snapshot.cumulative[0]), (2, (0.001, 1)));
        assert!((snapshot.sum - 1.5005).abs() < 1e-9, "{}", snapshot.sum);
    }
}
