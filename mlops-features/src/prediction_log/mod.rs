//! The log of answered predictions: what was asked, what was said, by which version, kept for monitoring and for
//! joining labels that arrive later.
//!
//! Invariants: offering a prediction copies it and never waits for a write, keeps nothing of it and never fails the request;
//! what is shed is counted; what a flush acknowledged is read exactly once. Rows are identified by `(request_id, row)`.
//!
//! A flush that is dropped before it is done gives its rows back, as one that fails does. Where its commit was made
//! nevertheless, those rows are in the table twice after the next flush if others came in between; [`PredictionLog::read`]
//! takes each once.

mod columns;
mod gathered;
mod growing;
mod labels;
mod offsets;
mod writer;

pub use labels::join_labels;
pub use writer::{LogWriter, LogWriterSettings};

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
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
    gathered::Gathered,
    labels::{first_of_each, identities},
    offsets::Counted,
};
use crate::table::{AppendReceipt, Scan, Table, TableSettings};

/// Column with the id of the request.
pub const REQUEST_ID: &str = "request_id";
/// Column with the row within the request, from 0.
pub const ROW: &str = "row";
/// Column with the name of the model.
const MODEL: &str = "model";
/// Column with the version that answered.
const VERSION: &str = "version";
/// Column with the side of a rollout that answered.
const VARIANT: &str = "variant";
/// Column with the time of the answer.
pub const AT: &str = "at";
/// Column with the chance of the variant that answered, where chance decided.
pub const PROPENSITY: &str = "propensity";

/// Rows that are gathered before they are put aside: small enough to grow in place, large enough that few are put
/// together when they are written.
const GATHERED_ROWS_MAX: usize = 8_192;
/// Bytes of growing columns from which they are put aside, for the same reasons.
const GATHERED_BYTES_MAX: usize = 64 << 20;

/// How much the log holds in memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct PredictionLogSettings {
    /// Most rows that wait for a flush or are being written; what would exceed it is shed.
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
    columns: Columns,
    rows_max: usize,
    buffer: Mutex<Buffer>,
    /// Predictions that were shed when they were offered.
    shed: AtomicU64,
    /// One flush at a time, held across the write on purpose.
    flushing: tokio::sync::Mutex<()>,
    /// Told when the buffer is half full.
    filling: Notify,
}

#[derive(Debug)]
struct Buffer {
    /// Rows that were put aside, before those that grow.
    full: Vec<RecordBatch>,
    growing: Gathered,
    rows: usize,
    /// Rows that a flush has taken and not written yet.
    writing: usize,
    /// Predictions that were taken, and of which no rows could be made.
    lost: u64,
    /// Schemas of inputs and outputs that were found to fit: a server's predictions share theirs.
    fitting: Option<(SchemaRef, SchemaRef)>,
}

impl Buffer {
    /// Takes a prediction that fits the log.
    ///
    /// # Errors
    /// `ResourceExhausted` for one that is too large for an Arrow array, and what keeps its values from being the table's.
    fn gather(&mut self, prediction: &PredictionBatch) -> Result<()> {
        let full = self.growing.rows() >= GATHERED_ROWS_MAX || self.growing.bytes() >= GATHERED_BYTES_MAX;
        if full || !self.growing.has_room(prediction)? {
            self.put_aside()?;
        }
        if self.growing.rows() == 0 && !self.growing.has_room(prediction)? {
            return Err(Error::resource_exhausted("a prediction of more than 2 GiB is too large for the log"));
        }
        let (rows, predictions) = (self.growing.rows(), self.growing.predictions());
        let pushed = self.growing.push(prediction);
        if pushed.is_err() && self.growing.rows() == 0 {
            self.lose(rows, predictions);
        }
        pushed
    }

    /// # Errors
    /// What keeps those that grow from being rows of the table; they are lost then, and counted.
    fn put_aside(&mut self) -> Result<()> {
        let (rows, predictions) = (self.growing.rows(), self.growing.predictions());
        if rows > 0 {
            let taken = self.growing.take().inspect_err(|_| self.lose(rows, predictions))?;
            self.full.push(taken);
        }
        Ok(())
    }

    fn lose(&mut self, rows: usize, predictions: u64) {
        self.rows = self.rows.saturating_sub(rows);
        self.lost = self.lost.saturating_add(predictions);
    }

    /// The rows that came first, as many as can be put together; they are being written afterwards.
    ///
    /// # Errors
    /// What keeps those that grow from being rows of the table.
    fn take(&mut self) -> Result<Vec<RecordBatch>> {
        self.put_aside()?;
        let taken = take_together(&mut self.full);
        self.writing = taken.iter().map(RecordBatch::num_rows).fold(0, usize::saturating_add);
        self.rows = self.rows.saturating_sub(self.writing);
        Ok(taken)
    }

    fn knows(&self, batch: &PredictionBatch) -> bool {
        self.fitting.as_ref().is_some_and(|(inputs, outputs)| {
            Arc::ptr_eq(inputs, batch.inputs.schema_ref()) && Arc::ptr_eq(outputs, batch.outputs.schema_ref())
        })
    }
}

/// Takes the first of `parts`, and those after it that fit into one batch with all before them.
fn take_together(parts: &mut Vec<RecordBatch>) -> Vec<RecordBatch> {
    let mut sum = Counted::default();
    let mut fits = |part: &RecordBatch| sum.and(&Counted::of(part)).map(|both| sum = both).is_some();
    // The first fits: it is an array already.
    let together = parts.iter().position(|part| !fits(part)).unwrap_or(parts.len());
    parts.drain(..together).collect()
}

/// Rows that a flush has taken. Dropping them gives them back, so a flush that fails or is given up loses nothing.
struct Taken<'a> {
    log: &'a PredictionLog,
    rows: Vec<RecordBatch>,
}

impl Taken<'_> {
    /// They are in the table.
    fn written(mut self) {
        self.rows.clear();
    }
}

impl Drop for Taken<'_> {
    /// Puts what was not written back in front of what came since.
    fn drop(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        let mut buffer = self.log.buffer();
        buffer.writing = 0;
        buffer.rows = rows.iter().map(RecordBatch::num_rows).fold(buffer.rows, usize::saturating_add);
        buffer.full.splice(..0, rows);
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
        let growing = Gathered::new(&columns, table.schema());
        Ok(Self {
            table,
            columns,
            rows_max: settings.buffer_rows_max,
            buffer: Mutex::new(Buffer { full: Vec::new(), growing, rows: 0, writing: 0, lost: 0, fitting: None }),
            shed: AtomicU64::new(0),
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
    /// `ResourceExhausted` when what waits is more than one commit can take, 2 GiB of one column's texts or so: call
    /// [`PredictionSink::flush`], or this more often. Otherwise as [`Table::append`]. The rows wait for the next flush then.
    pub async fn flush_as(&self, batch_id: &str) -> Result<Option<AppendReceipt>> {
        let id = batch_id.to_owned();
        let _turn = self.flushing.lock().await;
        let Some((taken, rest)) = self.take()? else { return Ok(None) };
        if rest {
            return Err(Error::resource_exhausted(format!(
                "the predictions that wait are more than batch \"{batch_id}\" can take in one commit; flush without an id, \
                 or more often"
            )));
        }
        self.write(taken, move |_| Ok(id)).await.map(Some)
    }

    /// What waits, as much of it as one commit takes, and whether there is more; none when nothing waits.
    ///
    /// # Errors
    /// What keeps it from being rows of the table.
    fn take(&self) -> Result<Option<(Taken<'_>, bool)>> {
        let mut buffer = self.buffer();
        let rows = buffer.take()?;
        let rest = buffer.rows > 0;
        drop(buffer);
        Ok(if rows.is_empty() { None } else { Some((Taken { log: self, rows }, rest)) })
    }

    async fn write(
        &self,
        taken: Taken<'_>,
        name: impl FnOnce(&RecordBatch) -> Result<String> + Send + 'static,
    ) -> Result<AppendReceipt> {
        let (schema, parts) = (Arc::clone(self.table.schema()), taken.rows.clone());
        let work = move || -> Result<(String, RecordBatch)> {
            let rows = concat_batches(&schema, &parts)?;
            Ok((name(&rows)?, rows))
        };
        let panicked = |_| Error::internal("gathering predictions for the log panicked");
        let (id, rows) = tokio::task::spawn_blocking(work).await.map_err(panicked)??;
        let receipt = self.table.append(&id, &rows).await?;
        taken.written();
        Ok(receipt)
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
        self.shed.fetch_add(1, Ordering::Relaxed);
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
        if buffer.rows.saturating_add(buffer.writing).saturating_add(rows) > self.rows_max {
            drop(buffer);
            return self.shed();
        }
        if let Err(error) = buffer.gather(&batch) {
            drop(buffer);
            tracing::error!(error = %error.chain(), "a prediction could not be kept in the log and was shed");
            return self.shed();
        }
        let before = buffer.rows;
        let after = before.saturating_add(rows);
        buffer.rows = after;
        drop(buffer);
        let half = self.rows_max / 2;
        if before < half && after >= half {
            self.filling.notify_one();
        }
        Delivery::Accepted
    }

    /// Writes what waits, in several commits where one cannot take it. Dropping the future before it is done gives the
    /// rows back.
    async fn flush(&self) -> Result<()> {
        loop {
            let _turn = self.flushing.lock().await;
            let Some((taken, rest)) = self.take()? else { return Ok(()) };
            self.write(taken, content_id).await?;
            if !rest {
                return Ok(());
            }
        }
    }

    /// Predictions, of however many rows: those that were shed, and those that were accepted and of which no rows of the
    /// table could be made.
    fn dropped(&self) -> u64 {
        let lost = self.buffer().lost;
        self.shed.load(Ordering::Relaxed).saturating_add(lost)
    }
}

/// A batch id made of the rows' identities, so that repeating a flush whose answer was lost writes nothing twice.
fn content_id(batch: &RecordBatch) -> Result<String> {
    let ids = identities(batch)?;
    let parts: Vec<Vec<u8>> = ids.iter().map(|(id, row)| format!("{row}/{id}").into_bytes()).collect();
    Ok(format!("predictions/{}", Digest::of_parts(parts.iter().map(Vec::as_slice))))
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, BinaryArray, Int64Array, ListArray, StringArray, types::Int64Type};
    use arrow_schema::{DataType, Field, Schema};
    use mlops_core::{ModelName, Version};

    use super::*;

    fn prediction(text: &str) -> PredictionBatch {
        let column = |name, values: ArrayRef| RecordBatch::try_from_iter([(name, values)]).unwrap();
        PredictionBatch {
            request_id: "r".into(),
            model: ModelName::new("m").unwrap(),
            version: Version(1),
            variant: "champion".into(),
            propensity: None,
            at: Timestamp::from_micros(1),
            inputs: column("text", Arc::new(StringArray::from(vec![text, ""]))),
            outputs: column("score", Arc::new(Int64Array::from(vec![1, 2]))),
        }
    }

    /// A buffer of such predictions, of a table that has `more` columns.
    fn buffer(more: Option<Field>) -> Buffer {
        let one = prediction("");
        let columns = Columns::new(one.inputs.schema(), one.outputs.schema()).unwrap();
        let fields = columns.schema().fields().iter().cloned().chain(more.map(Arc::new)).collect::<Vec<_>>();
        let growing = Gathered::new(&columns, &Arc::new(Schema::new(fields)));
        Buffer { full: Vec::new(), growing, rows: 0, writing: 0, lost: 0, fitting: None }
    }

    #[test]
    fn many_bytes_are_put_aside_like_many_rows() {
        let mut buffer = buffer(None);
        let large = prediction(&"x".repeat(GATHERED_BYTES_MAX / 2));
        (0..3).for_each(|_| buffer.gather(&large).unwrap());
        assert_eq!((buffer.full.len(), buffer.growing.rows()), (1, 2));
    }

    #[test]
    fn predictions_of_which_no_rows_can_be_made_are_counted() {
        // Nothing gives this column values, and it must have some.
        let mut buffer = buffer(Some(Field::new("old", DataType::Int64, false)));
        for _ in 0..3 {
            buffer.gather(&prediction("")).unwrap();
            buffer.rows += 2;
        }
        buffer.put_aside().unwrap_err();
        assert_eq!((buffer.lost, buffer.rows), (3, 0));
        assert!(buffer.take().unwrap().is_empty());
    }

    #[test]
    fn a_prediction_that_is_no_row_of_the_table_takes_no_other_with_it() {
        let mut buffer = buffer(None);
        buffer.gather(&prediction("")).unwrap();
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)]), None]));
        let outputs = RecordBatch::try_from_iter([("score", lists)]).unwrap();
        buffer.gather(&PredictionBatch { outputs, ..prediction("") }).unwrap_err();
        assert_eq!((buffer.lost, buffer.growing.take().unwrap().num_rows()), (0, 2));
    }

    #[test]
    fn parts_that_are_too_much_for_one_batch_are_taken_one_after_the_other() {
        // Each value is the same half GiB.
        let half = arrow_buffer::Buffer::from(vec![0_u8; 1 << 29]);
        let part = || {
            let offsets = arrow_buffer::OffsetBuffer::new(vec![0, 1 << 29].into());
            let column: ArrayRef = Arc::new(BinaryArray::new(offsets, half.clone(), None));
            RecordBatch::try_from_iter([("image", column)]).unwrap()
        };
        let mut parts: Vec<RecordBatch> = (0..7).map(|_| part()).collect();
        let mut taken = Vec::new();
        while !parts.is_empty() {
            taken.push(take_together(&mut parts).len());
        }
        assert_eq!(taken, [3, 3, 1]);
        assert!(take_together(&mut parts).is_empty());
    }
}
