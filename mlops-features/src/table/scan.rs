//! Reading one version of a table, in order of commit.

use std::sync::Arc;

use arrow_array::{Array, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use deltalake::DeltaTable;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use mlops_core::{Error, Result, Timestamp};
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};

use super::{Table, TableAt, files::DataFile};

/// What to read.
///
/// ```
/// use mlops_core::Timestamp;
/// use mlops_features::Scan;
///
/// let scan = Scan::latest()
///     .with_columns(["card", "amount"])
///     .with_time("event_timestamp", Some(Timestamp::from_micros(5)), None);
/// # let _ = scan;
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Scan {
    at: TableAt,
    added_since: Option<u64>,
    added_until: Option<u64>,
    columns: Option<Vec<Arc<str>>>,
    time: Option<TimeRange>,
}

#[derive(Debug, Clone)]
pub(super) struct TimeRange {
    column: Arc<str>,
    after: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Scan {
    /// All of the newest version.
    pub fn latest() -> Self {
        Self::default()
    }

    /// Reads `version` instead of the newest.
    pub fn at_version(mut self, version: u64) -> Self {
        self.at = TableAt::Version(version);
        self
    }

    /// Reads the table as it stood at `time`: the newest version that was committed by then.
    pub fn as_of(mut self, time: Timestamp) -> Self {
        self.at = TableAt::AsOf(time);
        self
    }

    /// Reads only what was committed after `version`.
    pub fn added_since(mut self, version: u64) -> Self {
        self.added_since = Some(version);
        self
    }

    /// Reads only what was committed by `version`, of the version that is read.
    pub(crate) fn added_until(mut self, version: u64) -> Self {
        self.added_until = Some(version);
        self
    }

    /// Reads only these columns, in this order.
    pub fn with_columns(mut self, columns: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.columns = Some(columns.into_iter().map(|name| name.as_ref().into()).collect());
        self
    }

    /// Reads only rows with `after < column <= until`. Rows where it is null are left out.
    pub fn with_time(mut self, column: impl AsRef<str>, after: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        self.time = Some(TimeRange { column: column.as_ref().into(), after, until });
        self
    }
}

impl Table {
    /// The schema that a scan of `columns` yields.
    ///
    /// # Errors
    /// `InvalidArgument` for a column that the table does not have.
    pub fn scan_schema(&self, scan: &Scan) -> Result<SchemaRef> {
        let Some(columns) = &scan.columns else { return Ok(Arc::clone(self.schema())) };
        let field = |name: &Arc<str>| {
            let missing = |_| Error::invalid_argument(format!("table \"{}\" has no column \"{name}\"", self.name()));
            self.schema().field_with_name(name).cloned().map_err(missing)
        };
        Ok(Arc::new(Schema::new(columns.iter().map(field).collect::<Result<Vec<Field>>>()?)))
    }

    /// The rows that `scan` asks for, in order of commit and file. Every batch is of one version: the newest when
    /// the call was made, unless `scan` names one. Files are decoded on blocking threads, a bounded number ahead.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown column, `NotFound` for an unknown version; in the stream `Unavailable` or
    /// `DataLoss` for a file that cannot be read, `ResourceExhausted` for one above the size in the settings.
    pub async fn scan(&self, scan: Scan) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let schema = self.scan_schema(&scan)?;
        let (table, files) = self.files_of(&scan).await?;
        let (store, this) = (table.object_store(), self.clone());
        let ahead = self.inner.settings.scan_files_ahead.max(1);
        let read = move |file: DataFile| {
            let (this, store, schema, time) =
                (this.clone(), Arc::clone(&store), Arc::clone(&schema), scan.time.clone());
            async move { this.read_file(store, file, schema, time).await }
        };
        let batches = stream::iter(files).map(read).buffered(ahead);
        Ok(batches.map_ok(|batches| stream::iter(batches).map(Ok)).try_flatten().boxed())
    }

    /// How many rows a scan would yield, from the statistics of the files where they tell; otherwise the time column
    /// alone is read.
    ///
    /// # Errors
    /// As [`Table::scan`].
    pub async fn count(&self, scan: Scan) -> Result<u64> {
        let (table, files) = self.files_of(&scan).await?;
        let Some(range) = scan.time else { return Ok(files.iter().map(|file| file.rows).sum()) };
        let schema = self.scan_schema(&Scan::latest().with_columns([&range.column]))?;
        let mut rows = 0;
        for file in files {
            rows += match file.count_within(&range.column, range.after, range.until) {
                Some(known) => known,
                None => {
                    let (store, schema, range) = (table.object_store(), Arc::clone(&schema), range.clone());
                    let batches = self.read_file(store, file, schema, Some(range)).await?;
                    batches.iter().map(|batch| batch.num_rows() as u64).sum()
                }
            };
        }
        Ok(rows)
    }

    /// The version that `scan` reads, and the files of it that may hold a row that it wants.
    pub(super) async fn files_of(&self, scan: &Scan) -> Result<(DeltaTable, Vec<DataFile>)> {
        let version = match scan.at {
            TableAt::Latest => None,
            at => Some(self.version_at(at).await?),
        };
        let table = self.at(version).await?;
        let mut files = self.files(&table)?;
        if let Some(since) = scan.added_since {
            files = self.only_added(files, since).await?;
        }
        if let Some(until) = scan.added_until {
            let newest = table.version().unwrap_or(0);
            files.retain(|file| file.commit().unwrap_or(newest) <= until);
        }
        if let Some(TimeRange { column, after, until }) = &scan.time {
            self.scan_schema(&Scan::latest().with_columns([column]))?;
            files.retain(|file| file.may_hold(column, *after, *until));
        }
        Ok((table, files))
    }

    /// All rows of a scan at once.
    ///
    /// # Errors
    /// As [`Table::scan`].
    pub async fn scan_all(&self, scan: Scan) -> Result<Vec<RecordBatch>> {
        self.scan(scan).await?.try_collect().await
    }

    pub(super) async fn read_file(
        &self,
        store: Arc<dyn ObjectStore>,
        file: DataFile,
        schema: SchemaRef,
        time: Option<TimeRange>,
    ) -> Result<Vec<RecordBatch>> {
        let settings = &self.inner.settings;
        if file.bytes > settings.file_bytes_max {
            return Err(Error::resource_exhausted(format!(
                "file {} of table \"{}\" has {} bytes; file_bytes_max is {}",
                file.path,
                self.name(),
                file.bytes,
                settings.file_bytes_max
            )));
        }
        let missing = |error: object_store::Error| {
            let message = format!("file {} of table \"{}\" cannot be read", file.path, self.name());
            match error {
                object_store::Error::NotFound { .. } => Error::data_loss(message).with_source(error),
                _ => Error::unavailable(message).with_source(error),
            }
        };
        let bytes = store.get(&file.path).await.map_err(missing)?.bytes().await.map_err(missing)?;
        let rows = settings.scan_batch_rows;
        let work = move || decode(bytes, &schema, time.as_ref(), rows);
        let decoded = tokio::task::spawn_blocking(work).await;
        decoded.map_err(|_| Error::internal("decoding a data file panicked"))?
    }
}

fn decode(bytes: Bytes, schema: &SchemaRef, time: Option<&TimeRange>, rows: usize) -> Result<Vec<RecordBatch>> {
    let fail = |error| Error::data_loss("a data file is not readable parquet").with_source(error);
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(fail)?;
    let wanted =
        |name: &str| schema.field_with_name(name).is_ok() || time.is_some_and(|range| range.column.as_ref() == name);
    let fields = builder.schema().fields().iter().enumerate();
    let roots: Vec<usize> = fields.filter(|(_, field)| wanted(field.name())).map(|(index, _)| index).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let reader = builder.with_projection(mask).with_batch_size(rows.max(1)).build().map_err(fail)?;
    let mut batches = Vec::new();
    for batch in reader {
        let batch = batch?;
        let batch = match time {
            Some(range) => filter_record_batch(&batch, &within(&batch, range)?)?,
            None => batch,
        };
        if batch.num_rows() > 0 {
            batches.push(shaped(&batch, schema)?);
        }
    }
    Ok(batches)
}

fn within(batch: &RecordBatch, range: &TimeRange) -> Result<BooleanArray> {
    let (after, until) = (range.after.map(Timestamp::as_micros), range.until.map(Timestamp::as_micros));
    let inside = |time: Option<i64>| {
        let Some(time) = time else { return Some(false) };
        Some(after.is_none_or(|after| time > after) && until.is_none_or(|until| time <= until))
    };
    Ok(crate::time::micros(batch, &range.column)?.into_iter().map(inside).collect())
}

/// The batch's columns as the table declares them; a column that the file is older than is null.
fn shaped(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => Ok(arrow_cast::cast(column, field.data_type())?),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
