//! A histogram of durations that many threads count into at once.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets, nanoseconds: 100 us to 10 s, and two below for models that take no time.
const BOUNDS_NANOS: [u64; 18] = [
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Counts by duration.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One more than bounds: what took longer than the last.
    buckets: [AtomicU64; BOUNDS_NANOS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Upper bounds in seconds with how many were at most that long, and the sum in seconds.
    pub(crate) fn read(&self) -> (Vec<(f64, u64)>, f64) {
        let bounds = BOUNDS_NANOS.iter().map(|bound| *bound as f64 / 1e9).chain([f64::INFINITY]);
        let mut total = 0;
        let cumulative = bounds.zip(&self.buckets).map(|(bound, bucket)| {
            total += bucket.load(Ordering::Relaxed);
            (bound, total)
        });
        (cumulative.collect(), self.nanos.load(Ordering::Relaxed) as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_counts_add_up() {
        let histogram = Histogram::default();
        for micros in [10, 11, 100, 20_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (buckets, sum) = histogram.read();
        let at = |bound: f64| buckets.iter().find(|(at, _)| *at == bound).unwrap().1;
        assert_eq!((at(1e-5), at(5e-5), at(1e-4), at(10.0), at(f64::INFINITY)), (1, 2, 3, 3, 4));
        assert!((sum - 20.000_121).abs() < 1e-9);
    }
}
