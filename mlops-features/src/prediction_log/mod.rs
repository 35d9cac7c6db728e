//! The log of answered predictions: what was asked, what was said, by which version, kept for monitoring and for
//! joining labels that arrive later.
//!
//! Invariants: offering a prediction never waits, copies nothing and never fails the request; what is shed is counted;
//! what a flush acknowledged is in the table exactly once. Rows are identified by `(request_id, row)`.

mod columns;
mod labels;
mod writer;

pub use labels::join_labels;
pub use writer::{LogWriter, LogWriterSettings};

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use async_trait::async_trait;
use mlops_core::{Clock, Delivery, Digest, Error, PredictionBatch, PredictionSink, Result, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use self::{
    columns::Columns,
    labels::{first_of_each, identities},
};
use crate::table::{AppendReceipt, Scan, Table, TableSettings};

/// Column with the id of the request.
pub const REQUEST_ID: &str = "request_id";
/// Column with the row within the request, from 0.
pub const ROW: &str = "row";
/// Column with the time of the answer.
pub const AT: &str = "at";
/// Column with the chance of the variant that answered, where chance decided.
pub const PROPENSITY: &str = "propensity";

/// How much the log holds in memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct PredictionLogSettings {
    /// Most rows that wait for a flush; what would exceed it is shed.
    pub buffer_rows_max: usize,
    /// The table.
    pub table: TableSettings,
}

impl Default for PredictionLogSettings {
    fn default() -> Self {
        Self { buffer_rows_max: 100_000, table: TableSettings::default() }
    }
}

/// A [`PredictionSink`] over a Delta table. A [`LogWriter`] flushes it in the background.
#[derive(Debug)]
pub struct PredictionLog {
    table: Table,
    columns: Arc<Columns>,
    rows_max: usize,
    buffer: Mutex<Buffer>,
    dropped: AtomicU64,
    /// One flush at a time, held across the write on purpose.
    flushing: tokio::sync::Mutex<()>,
    /// Told when the buffer is half full.
    filling: Notify,
}

#[derive(Debug, Default)]
struct Buffer {
    predictions: VecDeque<PredictionBatch>,
    rows: usize,
    /// Schemas of inputs and outputs that were found to fit: a server's predictions share theirs.
    fitting: Option<(SchemaRef, SchemaRef)>,
}

impl Buffer {
    fn knows(&self, batch: &PredictionBatch) -> bool {
        self.fitting.as_ref().is_some_and(|(inputs, outputs)| {
            Arc::ptr_eq(inputs, batch.inputs.schema_ref()) && Arc::ptr_eq(outputs, batch.outputs.schema_ref())
        })
    }
}

impl PredictionLog {
    /// Opens the log at `location`, creating its table for models that take `inputs` and answer `outputs`. Delta has no
    /// lists of a fixed size: a column of such is kept as lists. A log that is there gets the columns that it lacks.
    ///
    /// # Errors
    /// `InvalidArgument` when column names clash or a type cannot be kept, `FailedPrecondition` when the log exists
    /// with another type of a column, `Unavailable` when the location cannot be reached.
    pub async fn open(
        location: &str,
        inputs: SchemaRef,
        outputs: SchemaRef,
        clock: Arc<dyn Clock>,
        settings: PredictionLogSettings,
    ) -> Result<Self> {
        let columns = Columns::new(inputs, outputs)?;
        let table =
            Table::create_or_open("prediction_log", location, columns.schema(), clock, settings.table.clone()).await?;
        Ok(Self {
            table,
            columns: Arc::new(columns),
            rows_max: settings.buffer_rows_max,
            buffer: Mutex::default(),
            dropped: AtomicU64::new(0),
            flushing: tokio::sync::Mutex::default(),
            filling: Notify::new(),
        })
    }

    /// The table behind the log.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Rows that wait for a flush.
    #[must_use]
    pub fn buffered_rows(&self) -> usize {
        self.buffer().rows
    }

    /// Waits until the buffer is half full.
    async fn half_full(&self) {
        self.filling.notified().await;
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what was accepted so far as the batch `batch_id`: for a replay that knows which predictions belong to
    /// which id. When the table has that batch already, the waiting rows are taken to be it and are discarded.
    /// Nothing is written, and the id not used, when nothing waits: the answer is none.
    ///
    /// # Errors
    /// As [`Table::append`]; the rows wait for the next flush then.
    pub async fn flush_as(&self, batch_id: &str) -> Result<Option<AppendReceipt>> {
        let id = batch_id.to_owned();
        self.flush_with(move |_| Ok(id)).await
    }

    async fn flush_with(
        &self,
        name: impl FnOnce(&RecordBatch) -> Result<String> + Send + 'static,
    ) -> Result<Option<AppendReceipt>> {
        let _turn = self.flushing.lock().await;
        let taken = {
            let mut buffer = self.buffer();
            buffer.rows = 0;
            std::mem::take(&mut buffer.predictions)
        };
        if taken.is_empty() {
            return Ok(None);
        }
        let taken = Arc::new(taken);
        let outcome = self.write(Arc::clone(&taken), name).await;
        if outcome.is_err() {
            self.give_back(&taken);
        }
        outcome.map(Some)
    }

    async fn write(
        &self,
        taken: Arc<VecDeque<PredictionBatch>>,
        name: impl FnOnce(&RecordBatch) -> Result<String> + Send + 'static,
    ) -> Result<AppendReceipt> {
        let (columns, schema) = (Arc::clone(&self.columns), Arc::clone(self.table.schema()));
        let work = move || -> Result<(String, RecordBatch)> {
            let batch = columns.rows(&taken, &schema)?;
            Ok((name(&batch)?, batch))
        };
        let panicked = |_| Error::internal("gathering predictions for the log panicked");
        let (id, batch) = tokio::task::spawn_blocking(work).await.map_err(panicked)??;
        self.table.append(&id, &batch).await
    }

    /// Puts predictions back in front of what came since.
    fn give_back(&self, taken: &VecDeque<PredictionBatch>) {
        let mut buffer = self.buffer();
        for prediction in taken.iter().rev() {
            buffer.rows += prediction.inputs.num_rows();
            buffer.predictions.push_front(prediction.clone());
        }
    }

    /// The logged rows with `after < at <= until`, each `(request_id, row)` once, the first that was written.
    ///
    /// # Errors
    /// As [`Table::scan`].
    pub async fn read(&self, after: Option<Timestamp>, until: Option<Timestamp>) -> Result<RecordBatch> {
        let batches = self.table.scan_all(Scan::latest().with_time(AT, after, until)).await?;
        first_of_each(&concat_batches(self.table.schema(), &batches)?)
    }

    /// Counts a prediction that was not taken.
    fn shed(&self) -> Delivery {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        Delivery::Dropped
    }
}

#[async_trait]
impl PredictionSink for PredictionLog {
    /// A batch that does not fit the log's columns is shed like one that does not fit the buffer.
    fn append(&self, batch: PredictionBatch) -> Delivery {
        let rows = batch.inputs.num_rows();
        let mut buffer = self.buffer();
        let known = buffer.knows(&batch);
        let fits = || if known { Ok(()) } else { self.columns.check(&batch) };
        if let Err(error) = Columns::check_rows(&batch).and_then(|()| fits()) {
            drop(buffer);
            tracing::warn!(%error, "a prediction does not fit the log and was shed");
            return self.shed();
        }
        if !known {
            buffer.fitting = Some((batch.inputs.schema(), batch.outputs.schema()));
        }
        let before = buffer.rows;
        let after = before.saturating_add(rows);
        if after > self.rows_max {
            drop(buffer);
            return self.shed();
        }
        buffer.rows = after;
        buffer.predictions.push_back(batch);
        drop(buffer);
        let half = self.rows_max / 2;
        if before < half && after >= half {
            self.filling.notify_one();
        }
        Delivery::Accepted
    }

    async fn flush(&self) -> Result<()> {
        self.flush_with(content_id).await.map(drop)
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A batch id made of the rows' identities, so that repeating a flush whose answer was lost writes nothing twice.
fn content_id(batch: &RecordBatch) -> Result<String> {
    let ids = identities(batch)?;
    let parts: Vec<Vec<u8>> = ids.iter().map(|(id, row)| format!("{row}/{id}").into_bytes()).collect();
    Ok(format!("predictions/{}", Digest::of_parts(parts.iter().map(Vec::as_slice))))
}
