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
    DeltaTable,
    kernel::{
        Action, Add, CommitInfo, Transaction,
        transaction::{CommitBuilder, CommitProperties},
    },
    protocol::{DeltaOperation, SaveMode},
};
use mlops_core::{Digest, Error, Result, Timestamp};
use object_store::ObjectStoreExt;
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

use super::{Table, delta_error, evolve::is_race, files::file_name, schema};

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

/// Numbers that are kept in the table's log by name (Delta application transactions), and change only in the same
/// commit as rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commit {
    /// What the numbers must be for the commit to be made.
    pub(crate) expected: Vec<(String, Option<i64>)>,
    /// What they are after it.
    pub(crate) set: Vec<(String, i64)>,
}

/// What became of a conditional append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The commit was made as this version.
    Committed(u64),
    /// A number is not what was expected; nothing was written.
    Unexpected { version: u64, name: String, found: Option<i64> },
}

/// One encoded data file, not yet named.
struct Encoded {
    bytes: Bytes,
    digest: Digest,
    statistics: String,
}

/// The name under which the log remembers a batch.
fn batch_number(batch_id: &str) -> String {
    format!("mlops.batch/{batch_id}")
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
        self.append_numbered(batch_id, 1, batch).await
    }

    /// [`Table::append`] of a batch that the log remembers with `number` (see [`Table::batch_numbers`]).
    pub(crate) async fn append_numbered(
        &self,
        batch_id: &str,
        number: i64,
        batch: &RecordBatch,
    ) -> Result<AppendReceipt> {
        if batch_id.is_empty() || batch_id.len() > BATCH_ID_BYTES_MAX {
            return Err(Error::invalid_argument(format!(
                "batch id must have 1 to {BATCH_ID_BYTES_MAX} bytes; it has {}",
                batch_id.len()
            )));
        }
        let name = batch_number(batch_id);
        let commit = Commit { expected: vec![(name.clone(), None)], set: vec![(name, number)] };
        Ok(match self.append_if(commit, batch).await? {
            Appended::Committed(version) => AppendReceipt { version, rows: batch.num_rows() as u64, duplicate: false },
            Appended::Unexpected { version, .. } => AppendReceipt { version, rows: 0, duplicate: true },
        })
    }

    /// For every id whether a batch of that id is in the newest version.
    ///
    /// # Errors
    /// `Unavailable` or `DataLoss` when the log cannot be read.
    pub async fn have_batches(&self, batch_ids: &[String]) -> Result<Vec<bool>> {
        Ok(self.batch_numbers(batch_ids).await?.iter().map(Option::is_some).collect())
    }

    /// For every id the number under which a batch of that id is in the newest version, if it is.
    pub(crate) async fn batch_numbers(&self, batch_ids: &[String]) -> Result<Vec<Option<i64>>> {
        self.numbers(&batch_ids.iter().map(|id| batch_number(id)).collect::<Vec<_>>()).await
    }

    /// The numbers of these names in the newest version.
    pub(crate) async fn numbers(&self, names: &[String]) -> Result<Vec<Option<i64>>> {
        let table = self.latest().await?;
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.push(self.number(&table, name).await?);
        }
        Ok(found)
    }

    /// Appends `batch` and sets the numbers of `commit` in one commit, if they are what it expects.
    pub(crate) async fn append_if(&self, commit: Commit, batch: &RecordBatch) -> Result<Appended> {
        let batch = self.conform(batch)?;
        // An async lock, held across awaits on purpose: it only queues this handle's writers.
        let _turn = self.inner.appending.lock().await;
        let mut encoded: Option<Vec<Encoded>> = None;
        for _ in 0..=self.inner.settings.commit_retries_max {
            let table = self.latest().await?;
            for (name, expected) in &commit.expected {
                let found = self.number(&table, name).await?;
                if found != *expected {
                    let version = table.version().unwrap_or(0);
                    return Ok(Appended::Unexpected { version, name: name.clone(), found });
                }
            }
            let files = match encoded.take() {
                Some(files) => files,
                None => self.encode(batch.clone()).await?,
            };
            if let Some(version) = self.commit(&table, &commit.set, &files).await? {
                return Ok(Appended::Committed(version));
            }
            encoded = Some(files);
        }
        Err(Error::conflict(format!(
            "table \"{}\": other writers were faster {} times in a row; append the batch again",
            self.name(),
            self.inner.settings.commit_retries_max + 1
        )))
    }

    /// `batch` with the table's columns in the table's order, or what is wrong with it.
    pub(crate) fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        schema::conform(self.name(), self.schema(), &self.inner.declared, batch)
    }

    async fn number(&self, table: &DeltaTable, name: &str) -> Result<Option<i64>> {
        let fail = |error| delta_error(self.name(), error);
        let log = table.log_store();
        let state = table.snapshot().map_err(fail)?;
        state.transaction_version(log.as_ref(), name).await.map_err(fail)
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
    async fn commit(&self, table: &DeltaTable, set: &[(String, i64)], files: &[Encoded]) -> Result<Option<u64>> {
        let version = table.version().map_or(0, |version| version + 1);
        let now = self.inner.clock.now().as_millis();
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let mut actions = Vec::with_capacity(files.len() + 1);
        // The time of a commit is our clock's, so that time travel and replays agree.
        actions.push(Action::CommitInfo(CommitInfo { timestamp: Some(now), ..operation.get_commit_info() }));
        for (index, file) in files.iter().enumerate() {
            let name = file_name(version, index, &file.digest);
            let put = table.object_store().put(&name.as_str().into(), file.bytes.clone().into()).await;
            put.map_err(|error| delta_error(self.name(), error.into()))?;
            actions.push(Action::Add(add(name, file, now)));
        }
        let numbers = set.iter().map(|(name, number)| Transaction::new_with_last_update(name, *number, Some(now)));
        let properties =
            CommitProperties::default().with_max_retries(0).with_application_transactions(numbers.collect());
        let state = table.snapshot().map_err(|error| delta_error(self.name(), error))?;
        let commit = CommitBuilder::from(properties).with_actions(actions);
        match commit.build(Some(state), table.log_store(), operation).await {
            Ok(done) => Ok(Some(done.version())),
            Err(error) if is_race(&error) => Ok(None),
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
