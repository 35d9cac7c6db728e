//! Following a table: whatever is committed to it goes online, in whatever order of event time it comes.
//!
//! How far a view is is the version of its table, kept in the online store after the rows of that version. A late row
//! is applied like any other: it never replaces a newer value, and windows take it in where it belongs.

use std::{sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use mlops_core::{Fact, Result, Timestamp};

use super::{Materializer, Run};
use crate::{
    metrics::FRESHNESS_SECONDS,
    online::ResolvedView,
    table::{Scan, Table},
    time::micros,
};

/// What was put online of a table's new versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FollowReceipt {
    /// Rows applied.
    pub rows: u64,
    /// Rows without key or time, not applied.
    pub skipped: u64,
    /// The version of the table that is online; none before the first.
    pub table_version: Option<u64>,
}

/// A version where the online store keeps times.
fn as_time(version: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(version).unwrap_or(i64::MAX))
}

impl Materializer {
    /// Applies everything that was committed to the view's table since the last call, in whatever order of event time
    /// it comes; the first call applies the whole table. A call that is killed is repeated by the next one and changes
    /// nothing twice. The watermark of [`Materializer::run`] stays where it is.
    ///
    /// Rows with an event time in the future are applied too, as by a push, and hide older rows of their entity until
    /// their time has come. Of a view without event id, equal events of one entity and time count once when they come
    /// in different commits.
    ///
    /// # Errors
    /// As [`Materializer::run`].
    #[tracing::instrument(skip(self))]
    pub async fn catch_up(&self, view: &str) -> Result<FollowReceipt> {
        let view = self.resolve(view)?;
        let table = self.table(&view)?;
        let marker: Arc<str> = format!("{}#version", view.online).into();
        let version = table.version().await?;
        let known = self.store.watermark(&marker).await?.and_then(|known| u64::try_from(known.as_micros()).ok());
        let (rows, skipped, newest) = match known {
            Some(known) if known >= version => {
                return Ok(FollowReceipt { table_version: Some(known), ..FollowReceipt::default() });
            }
            Some(known) => self.added(&view, table, known, version, &marker).await?,
            None => self.everything(&view, table, version).await?,
        };
        self.mark(&marker, as_time(version)).await?;
        if let Some(until) = newest {
            let name = view.view.name();
            self.told.publish(Fact::FeaturesMaterialized { view: name.to_owned(), until, rows }).await;
            self.told.lag(FRESHNESS_SECONDS, "view", name, until);
        }
        Ok(FollowReceipt { rows, skipped, table_version: Some(version) })
    }

    /// Calls [`Materializer::catch_up`] again and again, `pause` after each, until the cancellation token of
    /// [`Materializer::with_cancellation`] is cancelled. A commit that was begun is finished first; the first call over the whole table ends with
    /// `Cancelled` between two chunks instead.
    ///
    /// # Errors
    /// As [`Materializer::catch_up`]; calling again goes on where it stopped.
    pub async fn follow(&self, view: &str, pause: Duration) -> Result<FollowReceipt> {
        let mut all = FollowReceipt::default();
        while !self.cancellation.is_cancelled() {
            let step = self.catch_up(view).await?;
            let (rows, skipped) = (all.rows + step.rows, all.skipped + step.skipped);
            all = FollowReceipt { rows, skipped, table_version: step.table_version };
            tokio::select! {
                () = self.cancellation.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(all)
    }

    /// Applies the rows that came after version `known`, commit by commit in parts of bounded size.
    async fn added(
        &self,
        view: &Arc<ResolvedView>,
        table: &Table,
        known: u64,
        version: u64,
        marker: &Arc<str>,
    ) -> Result<(u64, u64, Option<Timestamp>)> {
        let (mut rows, mut skipped, mut newest, mut since) = (0, 0, None, known);
        for until in table.parts_added(version, known, self.limits.rows_per_chunk as u64).await? {
            let scan = Scan::latest().at_version(version).added_since(since).added_until(until);
            let scan = scan.with_columns(view.needed_columns());
            let schema = table.scan_schema(&scan)?;
            let batch: RecordBatch = concat_batches(&schema, &table.scan_all(scan).await?)?;
            newest = micros(&batch, view.view.timestamp())?.into_iter().flatten().max().max(newest);
            let (applied, left) = self.write(view, &batch, None).await?;
            self.mark(marker, as_time(until)).await?;
            (rows, skipped, since) = (rows + applied, skipped + left, until);
        }
        Ok((rows, skipped, newest.map(Timestamp::from_micros)))
    }

    /// Applies all rows of `version`, in chunks.
    async fn everything(
        &self,
        view: &Arc<ResolvedView>,
        table: &Table,
        version: u64,
    ) -> Result<(u64, u64, Option<Timestamp>)> {
        let run = Run {
            view: Arc::clone(view),
            table: table.clone(),
            version,
            after: None,
            until: Timestamp::MAX,
            moves_watermark: false,
            marker: Some(format!("{}#all/{version}", view.online).into()),
        };
        let receipt = self.perform(&run).await?;
        let spans = table.spans(version, view.view.timestamp()).await?;
        let newest = spans.into_iter().flatten().map(|span| Timestamp::from_micros(span.greatest)).max();
        Ok((receipt.rows, receipt.skipped, newest))
    }
}
