//! What a version did since it was loaded: counts, times, batch sizes.
//!
//! Counters only grow, are read without stopping anyone, and are exact one by one but not as a set.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mlops_core::Timestamp;

use crate::{
    executor::{Close, Pace, PaceMaker},
    metrics::{Failed, Kinds, Red, Tally},
    rollout::Variant,
};

/// A count with the time it took.
#[derive(Debug, Default)]
pub(crate) struct Duty {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Duty {
    /// How often, and nanoseconds in all.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.nanos.load(Ordering::Relaxed))
    }

    pub(crate) fn add(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Why a prediction was asked for and not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rejection {
    /// As many requests waited as may.
    QueueFull,
    /// As many rows waited as may.
    QueueRows,
    /// The answer would have come after the deadline.
    Shed,
    /// A more urgent request took its place.
    Evicted,
    /// It waited for a worker longer than the settings allow.
    QueueTimeout,
    /// Its deadline passed in the queue.
    Deadline,
    /// Its caller went away while it waited.
    Cancelled,
    /// The server was shutting down.
    ShuttingDown,
}

impl Kinds for Rejection {
    const ALL: &'static [Self] = &[
        Self::QueueFull,
        Self::QueueRows,
        Self::Shed,
        Self::Evicted,
        Self::QueueTimeout,
        Self::Deadline,
        Self::Cancelled,
        Self::ShuttingDown,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::QueueRows => "queue_rows",
            Self::Shed => "shed",
            Self::Evicted => "evicted",
            Self::QueueTimeout => "queue_timeout",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

/// Buckets of the histogram of batch sizes: 1, 2, 4 ... rows.
const BATCH_BUCKETS: u32 = 13;

/// Batches larger than this are counted under the next power of two, so that the histogram stays small.
const EXACT_BATCH_ROWS: u64 = 64;

/// Over how many small calls their time is averaged.
const SMALL_CALLS: u64 = 128;

/// What a version did since it was loaded.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) success: Duty,
    pub(crate) fail: Duty,
    pub(crate) queue: Duty,
    pub(crate) compute_input: Duty,
    pub(crate) compute_infer: Duty,
    pub(crate) compute_output: Duty,
    pub(crate) rows: AtomicU64,
    pub(crate) last_ms: AtomicU64,
    /// Fading mean of the time of small calls, nanoseconds; the maximum value when unknown.
    small_call_nanos: AtomicU64,
    asks_elsewhere: AtomicBool,
    /// The last [`Pace`].
    fixed_nanos: AtomicU64,
    row_nanos: AtomicU64,
    /// By variant.
    reds: [Red; Variant::ALL.len()],
    failures: Tally<Failed>,
    rejections: Tally<Rejection>,
    /// Predictions by rows and the reason why the batch was closed.
    batches: Mutex<Batches>,
}

#[derive(Debug, Default)]
struct Batches {
    duties: BTreeMap<(u64, Close), BatchDuty>,
    pace: PaceMaker,
}

/// Predictions of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BatchDuty {
    pub(crate) count: u64,
    pub(crate) nanos: u64,
    pub(crate) rows: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            success: Duty::default(),
            fail: Duty::default(),
            queue: Duty::default(),
            compute_input: Duty::default(),
            compute_infer: Duty::default(),
            compute_output: Duty::default(),
            rows: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
            small_call_nanos: AtomicU64::new(u64::MAX),
            asks_elsewhere: AtomicBool::new(false),
            fixed_nanos: AtomicU64::new(0),
            row_nanos: AtomicU64::new(0),
            reds: Default::default(),
            failures: Tally::default(),
            rejections: Tally::default(),
            batches: Mutex::default(),
        }
    }
}

impl Counters {
    /// Notes how a request to a variant ended.
    pub(crate) fn ended(&self, variant: Variant, code: u16, took: Duration) {
        let place = Variant::ALL.iter().position(|known| *known == variant);
        if let Some(red) = place.and_then(|place| self.reds.get(place)) {
            red.answered(code, took);
        }
    }

    /// Rate, errors and duration by variant.
    pub(crate) fn reds(&self) -> impl Iterator<Item = (Variant, &Red)> {
        Variant::ALL.into_iter().zip(&self.reds)
    }

    /// Notes a request that was not answered with a prediction.
    pub(crate) fn failed(&self, reason: Failed, took: Duration) {
        self.fail.add(took);
        self.failures.add(reason);
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = (Failed, u64)> + '_ {
        self.failures.iter()
    }

    /// Notes an answered request.
    pub(crate) fn answered(&self, rows: usize, took: Duration, at: Timestamp) {
        self.success.add(took);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.last_ms.store(u64::try_from(at.as_millis()).unwrap_or(0), Ordering::Relaxed);
    }

    /// Notes a prediction of `rows` rows, whoever shared it.
    pub(crate) fn executed(&self, rows: usize, took: Duration, closed_by: Close) {
        let rows = rows as u64;
        let size = if rows <= EXACT_BATCH_ROWS { rows } else { rows.checked_next_power_of_two().unwrap_or(u64::MAX) };
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let duty = batches.duties.entry((size, closed_by)).or_default();
        duty.count += 1;
        duty.rows = duty.rows.saturating_add(rows);
        duty.nanos = duty.nanos.saturating_add(nanos);
        if closed_by != Close::Inline {
            let pace = batches.pace.learn(rows, nanos);
            self.fixed_nanos.store(pace.fixed, Ordering::Relaxed);
            self.row_nanos.store(pace.row, Ordering::Relaxed);
        }
    }

    /// Predictions by rows (above 64: the next power of two) and the reason why the batch was closed.
    pub(crate) fn batches(&self) -> BTreeMap<(u64, Close), BatchDuty> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).duties.clone()
    }

    /// Predictions by the reason why the batch was closed.
    pub(crate) fn closed(&self) -> impl Iterator<Item = (Close, u64)> {
        let mut counts: BTreeMap<Close, u64> = Close::ALL.into_iter().map(|reason| (reason, 0)).collect();
        for ((_, reason), duty) in self.batches() {
            *counts.entry(reason).or_insert(0) += duty.count;
        }
        counts.into_iter()
    }

    /// Predictions of at most as many rows as each power of two up to [`BATCH_BUCKETS`], and rows in all.
    pub(crate) fn batch_rows(&self) -> (Vec<(f64, u64)>, f64) {
        let batches = self.batches();
        let up_to = |bound: u64| {
            batches
                .iter()
                .filter(|((size, _), _)| *size <= bound)
                .map(|(_, duty)| duty.count)
                .fold(0, u64::saturating_add)
        };
        let mut buckets: Vec<(f64, u64)> =
            (0..BATCH_BUCKETS).map(|power| 1_u64 << power).map(|bound| (bound as f64, up_to(bound))).collect();
        buckets.push((f64::INFINITY, up_to(u64::MAX)));
        let rows = batches.values().map(|duty| duty.rows).fold(0, u64::saturating_add);
        (buckets, rows as f64)
    }

    /// What a prediction of the version takes, as recent ones went.
    pub(crate) fn pace(&self) -> Pace {
        Pace { fixed: self.fixed_nanos.load(Ordering::Relaxed), row: self.row_nanos.load(Ordering::Relaxed) }
    }

    /// Counts a prediction that was not made.
    pub(crate) fn rejected(&self, reason: Rejection) {
        self.rejections.add(reason);
    }

    /// Predictions that were not made, by reason.
    pub(crate) fn rejections(&self) -> impl Iterator<Item = (Rejection, u64)> + '_ {
        self.rejections.iter()
    }

    /// Notes how long a small call took. Each moves the mean by 1/[`SMALL_CALLS`] of the difference: one that lost the
    /// processor for a moment is no reason to queue those that follow, calls that are slow now and then are.
    pub(crate) fn small_call(&self, took: Duration) {
        // The maximum means unknown.
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX - 1);
        let old = self.small_call_nanos.load(Ordering::Relaxed);
        let new = if old == u64::MAX { took } else { old - old / SMALL_CALLS + took / SMALL_CALLS };
        self.small_call_nanos.store(new, Ordering::Relaxed);
    }

    /// Notes that the version waits for another server at least now and then, for good.
    pub(crate) fn asks_elsewhere(&self) {
        self.asks_elsewhere.store(true, Ordering::Relaxed);
    }

    /// Whether recent small calls stayed below `limit` on average, and none ever waited for another server: however soon
    /// answers come, what may wait must not run on a thread of the async runtime.
    pub(crate) fn is_cheap(&self, limit: Duration) -> bool {
        !self.asks_elsewhere.load(Ordering::Relaxed)
            && u128::from(self.small_call_nanos.load(Ordering::Relaxed)) < limit.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_interrupted_call_leaves_a_model_cheap_and_slow_ones_do_not() {
        let (counters, limit) = (Counters::default(), Duration::from_micros(100));
        assert!(!counters.is_cheap(limit), "nothing is known yet");
        (0..200).for_each(|_| counters.small_call(Duration::from_micros(5)));
        counters.small_call(Duration::from_millis(10));
        assert!(counters.is_cheap(limit));
        (0..20).for_each(|_| counters.small_call(Duration::from_millis(1)));
        assert!(!counters.is_cheap(limit));
        (0..1_000).for_each(|_| counters.small_call(Duration::from_micros(5)));
        assert!(counters.is_cheap(limit));
        // One call in ten that takes 20 ms.
        (0..200).for_each(|turn| counters.small_call(Duration::from_micros(if turn % 10 == 0 { 20_000 } else { 5 })));
        assert!(!counters.is_cheap(limit));
    }

    #[test]
    fn a_model_that_once_asked_another_server_is_never_cheap_again() {
        let (counters, limit) = (Counters::default(), Duration::from_micros(100));
        (0..200).for_each(|_| counters.small_call(Duration::from_micros(5)));
        assert!(counters.is_cheap(limit));
        counters.asks_elsewhere();
        (0..10_000).for_each(|_| counters.small_call(Duration::from_micros(5)));
        assert!(!counters.is_cheap(limit));
    }
}
