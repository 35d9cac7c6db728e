//! Appending a batch exactly once.
//!
//! The batch id goes into the commit as a Delta application transaction, in the same atomic write as the files. An
//! append reads a snapshot, looks the id up in it, and commits at exactly the next version; when another writer has
//! taken that version it starts over with a newer snapshot. So between the look-up and the commit nothing can come.

use std::collections::HashMap;

use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use deltalake::{
    DeltaTable, DeltaTableError,
    kernel::{
        Action, Add, Transaction,
        transaction::{CommitBuilder, CommitProperties, TransactionError},
    },
    protocol::{DeltaOperation, SaveMode},
};
use mlops_core::{Digest, Error, Result, Timestamp};
use object_store::ObjectStoreExt;
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

use super::{Table, delta_error, files::file_name, schema};

/// Longest batch id in bytes.
pub const BATCH_ID_BYTES_MAX: usize = 250;

/// What became of an append. The batch is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendReceipt {
    /// A table version that contains the batch.
    pub version: u64,
    /// Rows that this call added; 0 for a duplicate.
    pub rows: u64,
    /// The batch id was in the table already; nothing was written.
    pub duplicate: bool,
}

/// One encoded data file, not yet named.
struct Encoded {
    bytes: Bytes,
    digest: Digest,
    statistics: String,
}

impl Table {
    /// Appends `batch` as one commit, unless a batch of this id is in the table. When the call returns, the batch is
    /// in the table exactly once; when it fails or is killed, repeating it with the same id is safe.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty id or a batch that breaks the schema, naming the columns; `Conflict` when
    /// other writers were faster more often than the settings allow; `Unavailable` when storage cannot be reached.
    #[tracing::instrument(skip_all, fields(table = self.name(), batch_id, rows = batch.num_rows()))]
    pub async fn append(&self, batch_id: &str, batch: &RecordBatch) -> Result<AppendReceipt> {
        if batch_id.is_empty() || batch_id.len() > BATCH_ID_BYTES_MAX {
            return Err(Error::invalid_argument(format!(
                "batch id must have 1 to {BATCH_ID_BYTES_MAX} bytes; it has {}",
                batch_id.len()
            )));
        }
        let batch = schema::conform(self.name(), self.schema(), batch)?;
        let rows = batch.num_rows() as u64;
        let transaction = format!("mlops.batch/{batch_id}");
        // An async lock, held across awaits on purpose: it only queues this handle's writers.
        let _turn = self.inner.appending.lock().await;
        let mut encoded: Option<Vec<Encoded>> = None;
        for _ in 0..=self.inner.settings.commit_retries_max {
            let table = self.latest().await?;
            if let Some(version) = self.committed(&table, &transaction).await? {
                return Ok(AppendReceipt { version, rows: 0, duplicate: true });
            }
            let files = match encoded.take() {
                Some(files) => files,
                None => self.encode(batch.clone()).await?,
            };
            if let Some(version) = self.commit(&table, &transaction, &files).await? {
                return Ok(AppendReceipt { version, rows, duplicate: false });
            }
            encoded = Some(files);
        }
        Err(Error::conflict(format!(
            "table \"{}\": other writers were faster {} times in a row; append the batch again",
            self.name(),
            self.inner.settings.commit_retries_max + 1
        )))
    }

    /// The version of `table` if it contains the transaction.
    async fn committed(&self, table: &DeltaTable, transaction: &str) -> Result<Option<u64>> {
        let fail = |error| delta_error(self.name(), error);
        let log = table.log_store();
        let state = table.snapshot().map_err(fail)?;
        let found = state.transaction_version(log.as_ref(), transaction).await.map_err(fail)?;
        Ok(found.map(|_| state.version()))
    }

    async fn encode(&self, batch: RecordBatch) -> Result<Vec<Encoded>> {
        let settings = self.inner.settings.clone();
        let work = move || {
            let step = settings.file_rows_max.max(1);
            let slices = (0..batch.num_rows()).step_by(step).map(|at| batch.slice(at, step.min(batch.num_rows() - at)));
            slices.map(|slice| encode_file(&slice, settings.row_group_rows_max)).collect()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("encoding a batch panicked"))?
    }

    /// Writes the files and commits them at the version after `table`'s; none when that version is taken.
    async fn commit(&self, table: &DeltaTable, transaction: &str, files: &[Encoded]) -> Result<Option<u64>> {
        let version = table.version().map_or(0, |version| version + 1);
        let now = self.inner.clock.now().as_millis();
        let mut actions = Vec::with_capacity(files.len());
        for (index, file) in files.iter().enumerate() {
            let name = file_name(version, index, &file.digest);
            let put = table.object_store().put(&name.as_str().into(), file.bytes.clone().into()).await;
            put.map_err(|error| delta_error(self.name(), error.into()))?;
            actions.push(Action::Add(add(name, file, now)));
        }
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_application_transaction(Transaction::new_with_last_update(transaction, 1, Some(now)));
        let state = table.snapshot().map_err(|error| delta_error(self.name(), error))?;
        let commit = CommitBuilder::from(properties).with_actions(actions);
        match commit.build(Some(state), table.log_store(), operation).await {
            Ok(done) => Ok(Some(done.version())),
            Err(
                DeltaTableError::VersionAlreadyExists(_)
                | DeltaTableError::Transaction {
                    source: TransactionError::MaxCommitAttempts(_) | TransactionError::CommitConflict(_),
                },
            ) => Ok(None),
            Err(error) => Err(delta_error(self.name(), error)),
        }
    }
}

fn add(path: String, file: &Encoded, now: i64) -> Add {
    Add {
        path,
        partition_values: HashMap::new(),
        size: i64::try_from(file.bytes.len()).unwrap_or(i64::MAX),
        modification_time: now,
        data_change: true,
        stats: Some(file.statistics.clone()),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}

fn encode_file(batch: &RecordBatch, row_group_rows_max: usize) -> Result<Encoded> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(row_group_rows_max.max(1)))
        .build();
    let fail = |error| Error::internal("a batch could not be encoded as parquet").with_source(error);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).map_err(fail)?;
    writer.write(batch).map_err(fail)?;
    writer.close().map_err(fail)?;
    let (digest, bytes) = (Digest::of(&bytes), Bytes::from(bytes));
    Ok(Encoded { digest, bytes, statistics: statistics(batch)? })
}

/// Delta statistics: the row count, and the range of every timestamp column, by which scans skip files.
fn statistics(batch: &RecordBatch) -> Result<String> {
    let (mut least, mut greatest, mut nulls) = (serde_json::Map::new(), serde_json::Map::new(), serde_json::Map::new());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if !matches!(field.data_type(), DataType::Timestamp(_, _)) {
            continue;
        }
        let times = crate::time::micros(batch, field.name())?;
        let text = |micros: i64| serde_json::Value::String(Timestamp::from_micros(micros).to_string());
        nulls.insert(field.name().clone(), column.null_count().into());
        if let Some((min, max)) = times.iter().flatten().min().zip(times.iter().flatten().max()) {
            least.insert(field.name().clone(), text(*min));
            greatest.insert(field.name().clone(), text(*max));
        }
    }
    let json = serde_json::json!({
        "numRecords": batch.num_rows(), "minValues": least, "maxValues": greatest, "nullCount": nulls,
    });
    Ok(json.to_string())
}
