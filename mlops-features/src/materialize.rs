//! From the offline table to the online store, up to a point in event time.
//!
//! Invariant: the watermark of a view moves in the same transaction as the rows up to it, so a run that is killed
//! continues where it stopped and a run that is repeated changes nothing. Rows whose event time is at or before the
//! watermark when they arrive offline are not picked up by [`Materializer::run`]; [`Materializer::backfill`] applies
//! a range of event time whatever the watermark.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::{concat::concat_batches, filter::filter_record_batch};
use mlops_core::{Clock, Error, EventBus, Fact, Result, Timestamp};

use crate::{
    ingest::publish,
    online::{OnlineStore, ResolvedView, write_batch},
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
    /// Where the run began (exclusive); none is the beginning of time.
    pub after: Option<Timestamp>,
    /// The view's watermark afterwards.
    pub until: Timestamp,
    /// Version of the table that was read; none when there was nothing to do.
    pub table_version: Option<u64>,
}

/// Moves rows of offline tables into the online store.
#[derive(Debug, Clone)]
pub struct Materializer {
    pub(crate) tables: Arc<BTreeMap<Arc<str>, Table>>,
    pub(crate) views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
    pub(crate) store: Arc<dyn OnlineStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bus: Option<Arc<dyn EventBus>>,
    pub(crate) rows_per_write: usize,
}

impl Materializer {
    /// Makes `view` complete online up to `until` (inclusive), beginning after its watermark, in writes of bounded
    /// size in order of event time.
    ///
    /// # Errors
    /// `NotFound` for an unknown view, and the errors of the table and the store.
    #[tracing::instrument(skip(self))]
    pub async fn run(&self, view: &str, until: Timestamp) -> Result<MaterializeReceipt> {
        let resolved = self.resolve(view)?;
        let after = self.store.watermark(&resolved.online).await?;
        if let Some(after) = after.filter(|after| *after >= until) {
            return Ok(MaterializeReceipt {
                rows: 0,
                skipped: 0,
                after: Some(after),
                until: after,
                table_version: None,
            });
        }
        self.apply(resolved, after, until).await
    }

    /// Applies the rows with `after < event time <= until` whatever the watermark, which moves to `until` if it was
    /// before. Rows that are online already change nothing.
    ///
    /// # Errors
    /// As [`Materializer::run`].
    #[tracing::instrument(skip(self))]
    pub async fn backfill(&self, view: &str, after: Option<Timestamp>, until: Timestamp) -> Result<MaterializeReceipt> {
        self.apply(self.resolve(view)?, after, until).await
    }

    fn resolve(&self, view: &str) -> Result<Arc<ResolvedView>> {
        let unknown = || Error::not_found(format!("feature view \"{view}\" is not defined"));
        Ok(Arc::clone(self.views.get(view).ok_or_else(unknown)?))
    }

    async fn apply(
        &self,
        view: Arc<ResolvedView>,
        after: Option<Timestamp>,
        until: Timestamp,
    ) -> Result<MaterializeReceipt> {
        let unknown = || Error::internal(format!("table \"{}\" of a resolved view is not open", view.view.table()));
        let table = self.tables.get(view.view.table()).ok_or_else(unknown)?;
        let version = table.version().await?;
        let scan = Scan::latest().at_version(version).with_columns(view.needed_columns());
        let scan = scan.with_time(view.view.timestamp(), after, Some(until));
        let schema = table.scan_schema(&scan)?;
        let batch = concat_batches(&schema, &table.scan_all(scan).await?)?;
        let times = micros(&batch, view.view.timestamp())?;
        let (mut rows, mut skipped, mut from) = (0, 0, None);
        let mut ends = slice_ends(&times, self.rows_per_write);
        // The last write carries the promise, even when there is nothing in it.
        ends.pop();
        for end in ends.into_iter().map(Some).chain([None]) {
            let part = between(&batch, &times, from, end)?;
            let watermark = end.map_or(until, Timestamp::from_micros);
            let receipt = write_batch(self.store.as_ref(), Arc::clone(&view), part, Some(watermark)).await?;
            (rows, skipped, from) = (rows + receipt.rows, skipped + receipt.skipped, end);
        }
        let name = view.view.name().to_owned();
        let fact = Fact::FeaturesMaterialized { view: name, until, rows };
        publish(self.bus.as_ref(), self.clock.as_ref(), fact).await;
        let until = self.store.watermark(&view.online).await?.unwrap_or(until);
        Ok(MaterializeReceipt { rows, skipped, after, until, table_version: Some(version) })
    }
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
