//! The log of answered predictions: what was asked, what was said, by which version, kept for monitoring and for
//! joining labels that arrive later.
//!
//! Invariants: offering a batch never waits and never fails the request; what is shed is counted; what a flush
//! acknowledged is in the table exactly once. Rows are identified by `(request_id, row)`.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow_array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
    cast::AsArray, types::Int64Type,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_select::{concat::concat_batches, filter::filter_record_batch, take::take};
use async_trait::async_trait;
use hashbrown::{HashMap, HashSet};
use mlops_core::{Clock, Delivery, Digest, Error, PredictionBatch, PredictionSink, Result, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    definition::first_duplicate,
    table::{AppendReceipt, Scan, Table, TableSettings},
    time::column,
};

/// Column with the id of the request.
pub const REQUEST_ID: &str = "request_id";
/// Column with the row within the request, from 0.
pub const ROW: &str = "row";
/// Column with the time of the answer.
pub const AT: &str = "at";

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

/// A [`PredictionSink`] over a Delta table.
#[derive(Debug)]
pub struct PredictionLog {
    table: Table,
    inputs: SchemaRef,
    outputs: SchemaRef,
    rows_max: usize,
    buffer: Mutex<Buffer>,
    dropped: AtomicU64,
    /// One flush at a time, held across the write on purpose.
    flushing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Buffer {
    batches: VecDeque<RecordBatch>,
    rows: usize,
}

impl PredictionLog {
    /// Opens the log at `location`, creating its table for models that take `inputs` and answer `outputs`.
    ///
    /// # Errors
    /// `InvalidArgument` when column names clash or a type cannot be kept, `FailedPrecondition` when the log exists
    /// with other columns, `Unavailable` when the location cannot be reached.
    pub async fn open(
        location: &str,
        inputs: SchemaRef,
        outputs: SchemaRef,
        clock: Arc<dyn Clock>,
        settings: PredictionLogSettings,
    ) -> Result<Self> {
        let schema = log_schema(&inputs, &outputs)?;
        let table = Table::create_or_open("prediction_log", location, schema, clock, settings.table).await?;
        Ok(Self {
            table,
            inputs,
            outputs,
            rows_max: settings.buffer_rows_max,
            buffer: Mutex::default(),
            dropped: AtomicU64::new(0),
            flushing: tokio::sync::Mutex::default(),
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
        self.flush_with(|_| Ok(batch_id.to_owned())).await
    }

    async fn flush_with(&self, name: impl Fn(&RecordBatch) -> Result<String> + Send) -> Result<Option<AppendReceipt>> {
        let _turn = self.flushing.lock().await;
        let taken = std::mem::take(&mut *self.buffer());
        if taken.rows == 0 {
            return Ok(None);
        }
        let outcome = self.write(&taken, name).await;
        if outcome.is_err() {
            self.give_back(taken);
        }
        outcome.map(Some)
    }

    async fn write(&self, taken: &Buffer, name: impl Fn(&RecordBatch) -> Result<String>) -> Result<AppendReceipt> {
        let batch = concat_batches(self.table.schema(), &taken.batches)?;
        self.table.append(&name(&batch)?, &batch).await
    }

    /// Puts rows back in front of what came since.
    fn give_back(&self, taken: Buffer) {
        let mut buffer = self.buffer();
        buffer.rows += taken.rows;
        for batch in taken.batches.into_iter().rev() {
            buffer.batches.push_front(batch);
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

    /// The batch as rows of the log.
    fn rows(&self, batch: &PredictionBatch) -> Result<RecordBatch> {
        let rows = batch.inputs.num_rows();
        if batch.outputs.num_rows() != rows {
            return Err(Error::invalid_argument(format!(
                "a prediction has {rows} rows of inputs and {} of outputs",
                batch.outputs.num_rows()
            )));
        }
        let same = |text: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))) as ArrayRef;
        let version = i64::try_from(batch.version.0).unwrap_or(i64::MAX);
        let at = TimestampMicrosecondArray::from_value(batch.at.as_micros(), rows).with_timezone("UTC");
        let mut columns: Vec<ArrayRef> = vec![
            same(&batch.request_id),
            Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row as i64))),
            same(batch.model.as_str()),
            Arc::new(Int64Array::from_value(version, rows)),
            same(&batch.variant),
            Arc::new(at),
        ];
        for (schema, part) in [(&self.inputs, &batch.inputs), (&self.outputs, &batch.outputs)] {
            for field in schema.fields() {
                columns.push(Arc::clone(column(part, field.name())?));
            }
        }
        Ok(RecordBatch::try_new(Arc::clone(self.table.schema()), columns)?)
    }
}

#[async_trait]
impl PredictionSink for PredictionLog {
    /// A batch that does not fit the log's columns is shed like one that does not fit the buffer.
    fn append(&self, batch: PredictionBatch) -> Delivery {
        let rows = self.rows(&batch);
        let mut buffer = self.buffer();
        match rows {
            Ok(rows) if buffer.rows + rows.num_rows() <= self.rows_max => {
                buffer.rows += rows.num_rows();
                buffer.batches.push_back(rows);
                Delivery::Accepted
            }
            refused => {
                drop(buffer);
                self.dropped.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = refused {
                    tracing::warn!(%error, "a prediction does not fit the log and was shed");
                }
                Delivery::Dropped
            }
        }
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

fn log_schema(inputs: &Schema, outputs: &Schema) -> Result<SchemaRef> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let own = [
        (REQUEST_ID, DataType::Utf8),
        (ROW, DataType::Int64),
        ("model", DataType::Utf8),
        ("version", DataType::Int64),
        ("variant", DataType::Utf8),
        (AT, time),
    ];
    let own = own.into_iter().map(|(name, data_type)| Field::new(name, data_type, true));
    let theirs = inputs.fields().iter().chain(outputs.fields());
    let fields: Vec<Field> = own.chain(theirs.map(|field| field.as_ref().clone().with_nullable(true))).collect();
    if let Some(twice) = first_duplicate(fields.iter().map(|field| field.name().as_str())) {
        return Err(Error::invalid_argument(format!(
            "prediction log: column \"{twice}\" would occur twice; inputs, outputs and the log's own columns need distinct names"
        )));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn identities(batch: &RecordBatch) -> Result<Vec<(&str, i64)>> {
    let wrong = |name: &str| Error::invalid_argument(format!("column \"{name}\" of a prediction log has another type"));
    let ids = column(batch, REQUEST_ID)?.as_string_opt::<i32>().ok_or_else(|| wrong(REQUEST_ID))?;
    let rows = column(batch, ROW)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong(ROW))?;
    Ok(ids.iter().zip(rows).map(|(id, row)| (id.unwrap_or(""), row.unwrap_or(0))).collect())
}

fn first_of_each(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut seen = HashSet::new();
    let mask: BooleanArray = identities(batch)?.into_iter().map(|identity| Some(seen.insert(identity))).collect();
    Ok(filter_record_batch(batch, &mask)?)
}

/// The predictions with the columns of `labels` other than its `request_id` and `row`: an inner join on those two,
/// in the order of the predictions. Labels without `row` are for row 0. Of several labels for one row the last
/// counts.
///
/// # Errors
/// `InvalidArgument` for a missing or wrongly typed id column, or a label named like a column of the predictions.
pub fn join_labels(predictions: &RecordBatch, labels: &RecordBatch) -> Result<RecordBatch> {
    let labels = with_row(labels)?;
    let mut by_identity: HashMap<(&str, i64), u32> = HashMap::new();
    for (at, identity) in identities(&labels)?.into_iter().enumerate() {
        let at = u32::try_from(at).map_err(|_| Error::resource_exhausted("more than 4,294,967,295 labels"))?;
        by_identity.insert(identity, at);
    }
    let found: Vec<Option<u32>> =
        identities(predictions)?.iter().map(|identity| by_identity.get(identity).copied()).collect();
    let mask: BooleanArray = found.iter().map(|found| Some(found.is_some())).collect();
    let indices: UInt32Array = found.into_iter().flatten().collect::<Vec<_>>().into();
    let matched = filter_record_batch(predictions, &mask)?;
    let mut fields: Vec<_> = matched.schema_ref().fields().iter().cloned().collect();
    let mut columns = matched.columns().to_vec();
    for (field, label) in labels.schema_ref().fields().iter().zip(labels.columns()) {
        if field.name() == REQUEST_ID || field.name() == ROW {
            continue;
        }
        fields.push(Arc::clone(field));
        columns.push(take(label, &indices, None)?);
    }
    if let Some(twice) = first_duplicate(fields.iter().map(|field| field.name().as_str())) {
        return Err(Error::invalid_argument(format!("label \"{twice}\" has the name of a logged column; rename it")));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn with_row(labels: &RecordBatch) -> Result<RecordBatch> {
    if labels.column_by_name(ROW).is_some() {
        return Ok(labels.clone());
    }
    let mut fields: Vec<_> = labels.schema_ref().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(ROW, DataType::Int64, true)));
    let mut columns = labels.columns().to_vec();
    columns.push(Arc::new(Int64Array::from_value(0, labels.num_rows())));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
