//! How far a job is.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mlops_core::Clock;

/// How far a job is, as its caller is told now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchProgress {
    /// Rows that are predicted, those of earlier runs included.
    pub rows_done: u64,
    /// Rows of all parts.
    pub rows_total: u64,
    /// Rows of [`BatchProgress::rows_done`] that an earlier run had predicted.
    pub rows_found: u64,
    /// Rows that the model could not take.
    pub bad_rows: u64,
    /// Parts in place.
    pub parts_done: u64,
    /// All parts.
    pub parts_total: u64,
    /// Since the first row of this run.
    pub elapsed: Duration,
}

impl BatchProgress {
    /// Rows that this run predicts in a second; zero before the first.
    #[must_use]
    pub fn rows_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { (self.rows_done - self.rows_found) as f64 / seconds } else { 0.0 }
    }

    /// How long the rest takes at this pace; none before there is a pace.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let rest = self.rows_total.saturating_sub(self.rows_done) as f64;
        let rate = self.rows_per_second();
        if rate > 0.0 { Duration::try_from_secs_f64(rest / rate).ok() } else { None }
    }
}

/// Is told the progress.
pub(super) type Report = dyn Fn(&BatchProgress) + Send + Sync;

/// Counts what the workers do and tells it, one report at a time.
pub(super) struct Tracker {
    start: BatchProgress,
    clock: Arc<dyn Clock>,
    started: Duration,
    rows: AtomicU64,
    bad_rows: AtomicU64,
    parts: AtomicU64,
    report: Option<Arc<Report>>,
    every: Duration,
    /// When the last report was.
    told: Mutex<Option<Duration>>,
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Tracker {
    /// Goes on from `start`, what earlier runs did.
    pub(super) fn new(
        start: BatchProgress,
        clock: Arc<dyn Clock>,
        report: Option<Arc<Report>>,
        every: Duration,
    ) -> Self {
        let started = clock.monotonic();
        Self {
            start,
            clock,
            started,
            rows: AtomicU64::new(0),
            bad_rows: AtomicU64::new(0),
            parts: AtomicU64::new(0),
            report,
            every,
            told: Mutex::new(None),
        }
    }

    pub(super) fn now(&self) -> BatchProgress {
        let start = self.start;
        BatchProgress {
            rows_done: start.rows_done + self.rows.load(Ordering::Relaxed),
            bad_rows: start.bad_rows + self.bad_rows.load(Ordering::Relaxed),
            parts_done: start.parts_done + self.parts.load(Ordering::Relaxed),
            elapsed: self.clock.monotonic().saturating_sub(self.started),
            ..start
        }
    }

    /// Counts predicted rows.
    pub(super) fn rows(&self, rows: u64, bad_rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bad_rows.fetch_add(bad_rows, Ordering::Relaxed);
        self.tell(false);
    }

    /// Counts a part that is in place.
    pub(super) fn part(&self) {
        self.parts.fetch_add(1, Ordering::Relaxed);
        self.tell(false);
    }

    /// Reports, unless the last report was a moment ago.
    pub(super) fn tell(&self, always: bool) {
        let Some(report) = &self.report else { return };
        // Whoever comes while another reports has nothing newer to say, except at the end, when nobody else is there.
        let told = if always {
            Some(self.told.lock().unwrap_or_else(PoisonError::into_inner))
        } else {
            self.told.try_lock().ok()
        };
        let Some(mut told) = told else { return };
        let now = self.clock.monotonic();
        if always || told.is_none_or(|told| now.saturating_sub(told) >= self.every) {
            *told = Some(now);
            report(&self.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_counts_this_run_only() {
        let at = |rows_done, seconds| BatchProgress {
            rows_done,
            rows_total: 100,
            rows_found: 20,
            bad_rows: 0,
            parts_done: 0,
            parts_total: 1,
            elapsed: Duration::from_secs(seconds),
        };
        assert_eq!((at(20, 0).rows_per_second(), at(20, 0).remaining()), (0.0, None));
        assert_eq!(at(20, 3).remaining(), None);
        assert_eq!((at(60, 4).rows_per_second(), at(60, 4).remaining()), (10.0, Some(Duration::from_secs(4))));
        assert_eq!(at(100, 8).remaining(), Some(Duration::ZERO));
    }
}
