//! From the offline table to the online store, up to a point in event time.
//!
//! Invariants: the watermark of a view moves in the same transaction as the rows up to it, and only over event time
//! that was read without a gap, so a run that is killed continues where it stopped and a run that is repeated changes
//! nothing; how many rows were read is compared with what the table says it has.
//!
//! Rows whose event time is at or before the watermark when they arrive offline are not picked up by
//! [`Materializer::run`]; [`Materializer::run_range`] applies a range of event time whatever the watermark, and
//! [`Materializer::catch_up`] whatever was committed since it was last called, however late it is.

mod chunks;
mod computed;
mod follow;

pub use follow::FollowReceipt;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::{concat::concat_batches, filter::filter_record_batch};
use mlops_core::{Error, Fact, Result, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    engine::ComputeEngine,
    metrics::{FRESHNESS_SECONDS, MATERIALIZED_ROWS_TOTAL, Told},
    online::{OnlineStore, ResolvedView, WriteBatch, write_batch},
    table::{Scan, Table},
    time::micros,
};

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaterializeReceipt {
    /// Rows applied.
    pub rows: u64,
    /// Rows without key, not applied.
    pub skipped: u64,
    /// Where the run began (exclusive); none is the beginning of time. A run that takes up a killed one begins where
    /// that had stopped.
    pub after: Option<Timestamp>,
    /// The view's watermark afterwards, or how far the run went if that is later.
    pub until: Timestamp,
    /// Version of the table that was read; none when there was nothing to do.
    pub table_version: Option<u64>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterializeProgress {
    /// The view.
    pub view: Arc<str>,
    /// Rows applied so far.
    pub rows: u64,
    /// Event time up to which (inclusive) they are durable.
    pub until: Timestamp,
    /// Chunks done.
    pub chunks_done: usize,
    /// Chunks of the whole run.
    pub chunks: usize,
}

/// Sizes that bound memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaterializeLimits {
    pub(crate) rows_per_write: usize,
    pub(crate) rows_per_chunk: usize,
}

/// The smallest difference between two times.
const TICK: Duration = Duration::from_micros(1);

/// Is told how far a run is.
type OnProgress = Arc<dyn Fn(&MaterializeProgress) + Send + Sync>;

/// Moves rows of offline tables into the online store.
#[derive(Clone)]
pub struct Materializer {
    tables: Arc<BTreeMap<Arc<str>, Table>>,
    views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
    store: Arc<dyn OnlineStore>,
    told: Told,
    limits: MaterializeLimits,
    engine: Option<Arc<dyn ComputeEngine>>,
    cancellation: CancellationToken,
    on_progress: Option<OnProgress>,
}

impl fmt::Debug for Materializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Materializer").field("store", &self.store).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// One run: rows with `after < event time <= until` of one version of the table.
struct Run {
    view: Arc<ResolvedView>,
    table: Table,
    version: u64,
    after: Option<Timestamp>,
    until: Timestamp,
    /// Whether the watermark may move: nothing before the run is left out.
    moves_watermark: bool,
    /// Where the run keeps how far it is, when the watermark does not say.
    marker: Option<Arc<str>>,
}

impl Materializer {
    pub(crate) fn new(
        tables: Arc<BTreeMap<Arc<str>, Table>>,
        views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
        store: Arc<dyn OnlineStore>,
        told: Told,
        limits: MaterializeLimits,
    ) -> Self {
        let cancellation = CancellationToken::new();
        Self { tables, views, store, told, limits, engine: None, cancellation, on_progress: None }
    }

    /// Calls `on_progress` after every chunk that is durable.
    #[must_use]
    pub fn with_progress(mut self, on_progress: impl Fn(&MaterializeProgress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(on_progress));
        self
    }

    /// Runs end with `Cancelled` once `cancellation` is cancelled. What they have applied stays, and the next run
    /// goes on from there.
    #[must_use]
    pub fn with_cancellation(mut self, cancellation: CancellationToken) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// Makes `view` complete online up to `until` (inclusive), beginning after its watermark, in writes of bounded
    /// size in order of event time.
    ///
    /// # Errors
    /// `NotFound` for an unknown view, `Cancelled`, `DataLoss` when fewer or more rows were read than the table has,
    /// and the errors of the table and the store.
    #[tracing::instrument(skip(self))]
    pub async fn run(&self, view: &str, until: Timestamp) -> Result<MaterializeReceipt> {
        let resolved = self.resolve(view)?;
        let after = self.store.watermark(&resolved.online).await?;
        if let Some(after) = after.filter(|after| *after >= until) {
            return Ok(nothing(Some(after), after));
        }
        self.apply(resolved, after, until, after).await
    }

    /// [`Materializer::run`] up to `end` (exclusive): the range `[watermark, end)`.
    ///
    /// # Errors
    /// As [`Materializer::run`].
    pub async fn run_incremental(&self, view: &str, end: Timestamp) -> Result<MaterializeReceipt> {
        self.run(view, before(end)).await
    }

    /// Applies the rows with event time in `[start, end)`, whatever the watermark. Rows that are online already change
    /// nothing. A run of the same range over the same version of the table that was killed is taken up where it
    /// stopped; one that was finished has nothing to do.
    ///
    /// # Errors
    /// `InvalidArgument` when `start` is not before `end`; otherwise as [`Materializer::run`].
    #[tracing::instrument(skip(self))]
    pub async fn run_range(&self, view: &str, start: Timestamp, end: Timestamp) -> Result<MaterializeReceipt> {
        if start >= end {
            return Err(Error::invalid_argument(format!("the range from {start} to {end} is empty")));
        }
        let after = (start > Timestamp::MIN).then(|| before(start));
        self.apply_range(view, after, before(end)).await
    }

    /// Applies the rows with `after < event time <= until` whatever the watermark, which moves to `until` if it was
    /// before and not before `after`. Rows that are online already change nothing.
    ///
    /// # Errors
    /// As [`Materializer::run`].
    #[tracing::instrument(skip(self))]
    pub async fn backfill(&self, view: &str, after: Option<Timestamp>, until: Timestamp) -> Result<MaterializeReceipt> {
        self.apply_range(view, after, until).await
    }

    async fn apply_range(&self, view: &str, after: Option<Timestamp>, until: Timestamp) -> Result<MaterializeReceipt> {
        let resolved = self.resolve(view)?;
        let watermark = self.store.watermark(&resolved.online).await?;
        self.apply(resolved, after, until, watermark).await
    }

    fn resolve(&self, view: &str) -> Result<Arc<ResolvedView>> {
        let unknown = || Error::not_found(format!("feature view \"{view}\" is not defined"));
        Ok(Arc::clone(self.views.get(view).ok_or_else(unknown)?))
    }

    fn table(&self, view: &ResolvedView) -> Result<&Table> {
        let unknown = || Error::internal(format!("table \"{}\" of a resolved view is not open", view.view.table()));
        self.tables.get(view.view.table()).ok_or_else(unknown)
    }

    /// Applies the rows with `after < event time <= until` to a view whose watermark is `watermark`.
    async fn apply(
        &self,
        view: Arc<ResolvedView>,
        after: Option<Timestamp>,
        until: Timestamp,
        watermark: Option<Timestamp>,
    ) -> Result<MaterializeReceipt> {
        let table = self.table(&view)?.clone();
        let version = table.version().await?;
        let moves_watermark = after.is_none() || watermark >= after;
        let marker = (watermark != after).then(|| {
            let from = after.map_or("min".to_owned(), |after| after.as_micros().to_string());
            Arc::from(format!("{}#range/{from}/{}/{version}", view.online, until.as_micros()))
        });
        let run = Run { view, table, version, after, until, moves_watermark, marker };
        let receipt = self.perform(&run).await?;
        let name = run.view.view.name();
        self.told.publish(Fact::FeaturesMaterialized { view: name.to_owned(), until, rows: receipt.rows }).await;
        self.told.lag(FRESHNESS_SECONDS, "view", name, receipt.until);
        Ok(receipt)
    }

    /// Applies a run chunk by chunk, without telling anyone.
    async fn perform(&self, run: &Run) -> Result<MaterializeReceipt> {
        let done = match &run.marker {
            Some(marker) => self.store.watermark(marker).await?,
            None => None,
        };
        let after = run.after.max(done);
        if let Some(after) = after.filter(|after| *after >= run.until) {
            return Ok(nothing(Some(after), run.until));
        }
        if let Some(engine) = self.engine_of(run) {
            return self.compute(engine, run, after).await;
        }
        let name = run.view.view.timestamp();
        let ends = chunks::ends(&run.table, run.version, name, after, run.until, self.limits.rows_per_chunk).await?;
        let (mut rows, mut skipped, mut from) = (0, 0, after);
        for (index, end) in ends.iter().enumerate() {
            if self.cancellation.is_cancelled() {
                return Err(Error::cancelled(format!(
                    "materialization of \"{}\" was cancelled; what is done stays done",
                    run.view.view.name()
                )));
            }
            let (applied, left) = self.chunk(run, from, *end).await?;
            (rows, skipped, from) = (rows + applied, skipped + left, Some(*end));
            self.report(run, rows, *end, (index + 1, ends.len()));
        }
        self.verify(run, after, rows + skipped).await?;
        self.receipt(run, after, (rows, skipped)).await
    }

    fn report(&self, run: &Run, rows: u64, until: Timestamp, (chunks_done, chunks): (usize, usize)) {
        if let Some(on_progress) = &self.on_progress {
            on_progress(&MaterializeProgress { view: run.view.view.name().into(), rows, until, chunks_done, chunks });
        }
    }

    async fn receipt(
        &self,
        run: &Run,
        after: Option<Timestamp>,
        (rows, skipped): (u64, u64),
    ) -> Result<MaterializeReceipt> {
        let watermark = self.store.watermark(&run.view.online).await?;
        let until = watermark.max(Some(run.until)).unwrap_or(run.until);
        Ok(MaterializeReceipt { rows, skipped, after, until, table_version: Some(run.version) })
    }

    /// Applies the rows with `after < event time <= until`.
    async fn chunk(&self, run: &Run, after: Option<Timestamp>, until: Timestamp) -> Result<(u64, u64)> {
        let scan = Scan::latest().at_version(run.version).with_columns(run.view.needed_columns());
        let scan = scan.with_time(run.view.view.timestamp(), after, Some(until));
        let schema = run.table.scan_schema(&scan)?;
        let batch = concat_batches(&schema, &run.table.scan_all(scan).await?)?;
        let watermark = run.moves_watermark.then_some(until);
        let applied = self.write(&run.view, &batch, watermark).await?;
        if let Some(marker) = &run.marker {
            self.mark(marker, until).await?;
        }
        Ok(applied)
    }

    /// Writes `batch` in order of event time and in parts of bounded size; the last part moves the watermark to
    /// `watermark`, those before it to where they end.
    async fn write(
        &self,
        view: &Arc<ResolvedView>,
        batch: &RecordBatch,
        watermark: Option<Timestamp>,
    ) -> Result<(u64, u64)> {
        let times = micros(batch, view.view.timestamp())?;
        let (mut rows, mut skipped, mut from) = (0, 0, None);
        let mut ends = slice_ends(&times, self.limits.rows_per_write);
        // The last write carries the promise, even when there is nothing in it.
        ends.pop();
        for end in ends.into_iter().map(Some).chain([None]) {
            let part = between(batch, &times, from, end)?;
            let reached = watermark.map(|watermark| end.map_or(watermark, Timestamp::from_micros));
            let receipt = write_batch(self.store.as_ref(), Arc::clone(view), part, reached).await?;
            (rows, skipped, from) = (rows + receipt.rows, skipped + receipt.skipped, end);
        }
        self.told.meter.count(MATERIALIZED_ROWS_TOTAL, &[("view", view.view.name())], rows);
        Ok((rows, skipped))
    }

    /// Compares the rows that were read with those that the table has.
    async fn verify(&self, run: &Run, after: Option<Timestamp>, read: u64) -> Result<()> {
        let scan = Scan::latest().at_version(run.version).with_time(run.view.view.timestamp(), after, Some(run.until));
        let expected = run.table.count(scan).await?;
        if expected == read {
            return Ok(());
        }
        Err(Error::data_loss(format!(
            "materialization of \"{}\" read {read} rows where table \"{}\" version {} has {expected}",
            run.view.view.name(),
            run.table.name(),
            run.version
        )))
    }

    /// Remembers `at` under `marker`. Written after the rows it speaks of, which may be applied again.
    async fn mark(&self, marker: &Arc<str>, at: Timestamp) -> Result<()> {
        let batch = WriteBatch { table: Arc::clone(marker), updates: Vec::new(), watermark: Some(at) };
        self.store.write(batch).await
    }
}

fn nothing(after: Option<Timestamp>, until: Timestamp) -> MaterializeReceipt {
    MaterializeReceipt { rows: 0, skipped: 0, after, until, table_version: None }
}

/// The last moment before `time`.
fn before(time: Timestamp) -> Timestamp {
    time - TICK
}

/// Event times at which to end a write: at least `rows` rows each, never between rows of the same time, because
/// equal events of one time must arrive in one write to count each.
fn slice_ends(times: &[Option<i64>], rows: usize) -> Vec<i64> {
    let mut sorted: Vec<i64> = times.iter().copied().flatten().collect();
    sorted.sort_unstable();
    let mut ends: Vec<i64> = sorted.chunks(rows.max(1)).filter_map(|chunk| chunk.last().copied()).collect();
    ends.dedup();
    ends
}

fn between(batch: &RecordBatch, times: &[Option<i64>], after: Option<i64>, until: Option<i64>) -> Result<RecordBatch> {
    if after.is_none() && until.is_none() {
        return Ok(batch.clone());
    }
    let inside = |time: &Option<i64>| {
        Some(time.is_some_and(|time| after.is_none_or(|after| time > after) && until.is_none_or(|until| time <= until)))
    };
    let mask: BooleanArray = times.iter().map(inside).collect();
    Ok(filter_record_batch(batch, &mask)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_never_ends_between_equal_times() {
        let times = [Some(3), Some(1), Some(3), None, Some(3), Some(2), Some(9)];
        assert_eq!(slice_ends(&times, 2), [2, 3, 9]);
        assert_eq!(slice_ends(&[], 2), Vec::<i64>::new());
    }
}
