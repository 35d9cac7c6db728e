//! Rows on their way to a server.
//!
//! Every relation has the columns `place` (order of ingestion), `event` and `created` (microseconds), then what the
//! caller asks for under names of its own. Three ways lead there:
//!
//! - *read*: the server reads the Parquet files of the source itself and knows the number of each row in its file, by
//!   which ties are decided (Spark from 3.5 does);
//! - *inline*: a few rows travel with the question;
//! - *staged*: rows are written as Parquet, numbered, to a directory that the server reads too.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use mlops_core::{Error, ErrorKind, Result};
use parquet::arrow::ArrowWriter;

use super::{
    sql::quoted,
    types::{carried, check_feature, check_key, check_time, exactly},
    wire::{DataSource, LocalRelation, Read, RelationType},
};
use crate::{
    fault::is_full,
    join::{
        rows::{FeatureRows, Request, file_url},
        slice_bytes,
    },
    time::{Ticks, ticks},
};

/// The bits of a row's number below those of its file.
const ROW_BITS: u32 = 40;

/// Rows that are decoded at a time on their way.
const BATCH_ROWS: usize = 65_536;

/// What is asked of a source.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) timestamp: Arc<str>,
    pub(super) created: Option<Arc<str>>,
    /// Columns by name in the source and in the relation; keys are compared, values are carried.
    pub(super) keys: Vec<(Arc<str>, String)>,
    pub(super) values: Vec<(Arc<str>, String)>,
}

/// Relations that go with a question, and the SQL that reads them as one.
#[derive(Debug)]
pub(super) struct Relations {
    pub(super) named: Vec<(String, RelationType)>,
    pub(super) sql: String,
    /// Is removed when this is dropped.
    _staged: Option<StagedFile>,
}

impl Wanted {
    /// Refuses what a server would change.
    pub(super) fn check(&self, schema: &Schema) -> Result<()> {
        let data_type = |name: &str| Ok::<_, Error>(schema.field_with_name(name)?.data_type());
        for time in [Some(&self.timestamp), self.created.as_ref()].into_iter().flatten() {
            check_time(time, data_type(time)?)?;
        }
        self.keys.iter().try_for_each(|(name, _)| check_key(name, data_type(name)?))?;
        self.values.iter().try_for_each(|(name, _)| check_feature(name, data_type(name)?).map(drop))
    }

    fn columns(&self) -> impl Iterator<Item = &(Arc<str>, String)> {
        self.keys.iter().chain(&self.values)
    }

    /// The columns of the relation.
    fn schema(&self, source: &Schema) -> Result<SchemaRef> {
        let number = |name: &str| Field::new(name, DataType::Int64, true);
        let mut fields = vec![number("place"), number("event"), number("created")];
        for (from, to) in self.columns() {
            let data_type = source.field_with_name(from)?.data_type();
            fields.push(Field::new(to, carried(data_type).unwrap_or_else(|| data_type.clone()), true));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Places in `source` of the columns that are read.
    fn places(&self, source: &Schema) -> Result<Vec<usize>> {
        let names = [Some(&self.timestamp), self.created.as_ref()].into_iter().flatten();
        let mut places = names
            .chain(self.columns().map(|(from, _)| from))
            .map(|name| Ok(source.index_of(name)?))
            .collect::<Result<Vec<_>>>()?;
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    /// `batch` of the source as rows of the relation, the first of which has number `first`.
    fn rows(&self, batch: &RecordBatch, first: i64, schema: &SchemaRef) -> Result<RecordBatch> {
        let times = |name: &Arc<str>| {
            let column = crate::time::column(batch, name)?;
            Ok::<ArrayRef, Error>(Arc::new(Int64Array::from(ticks(name, column.as_ref(), Ticks::Micros)?)))
        };
        let created: ArrayRef = match &self.created {
            Some(name) => times(name)?,
            None => Arc::new(Int64Array::new_null(batch.num_rows())),
        };
        let places = Int64Array::from_iter_values((first..).take(batch.num_rows()));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(places), times(&self.timestamp)?, created];
        for ((from, _), field) in self.columns().zip(schema.fields().iter().skip(3)) {
            columns.push(exactly(crate::time::column(batch, from)?, field.data_type())?);
        }
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    /// The SQL that reads file number `file` of a source, relation `alias`, as rows of the relation.
    fn read(&self, alias: &str, file: usize) -> String {
        let micros = |name: &str| format!("unix_micros(CAST({} AS TIMESTAMP))", quoted(name));
        let created = self.created.as_deref().map_or("CAST(NULL AS BIGINT)".to_owned(), micros);
        let columns: String =
            self.columns().map(|(from, to)| format!(", {} AS {to}", quoted(from))).collect::<Vec<_>>().concat();
        format!(
            "SELECT CAST({} AS BIGINT) + _metadata.row_index AS place, {} AS event, {created} AS created{columns} \
             FROM {alias}",
            (file as u64) << ROW_BITS,
            micros(&self.timestamp)
        )
    }
}

impl Relations {
    /// The rows of `rows` under `alias`, which the server reads itself.
    pub(super) fn read(alias: &str, urls: &[String], wanted: &Wanted) -> Self {
        let name = |file: usize| format!("{alias}_{file}");
        let named = urls.iter().enumerate().map(|(file, url)| (name(file), parquet(url.clone()))).collect();
        let selects: Vec<String> = (0..urls.len()).map(|file| wanted.read(&name(file), file)).collect();
        Self { named, sql: selects.join(" UNION ALL "), _staged: None }
    }
}

/// Brings rows to the server that it does not read itself.
#[derive(Debug)]
pub(super) struct Sender {
    /// What the names of staged files begin with, unlike those of any other sender.
    pub(super) name: String,
    pub(super) inline_bytes_max: usize,
    pub(super) staging: Option<PathBuf>,
}

impl Sender {
    /// What is wanted of `rows` under `alias`: inline when it is little, else staged.
    pub(super) fn rows(&self, alias: &str, rows: &dyn FeatureRows, wanted: &Wanted) -> Result<Relations> {
        let schema = wanted.schema(rows.schema())?;
        let columns = wanted.places(rows.schema())?;
        let mut parcel = Parcel::new(self, alias, Arc::clone(&schema));
        let mut first = 0;
        for part in 0..rows.parts().len() {
            for batch in rows.read(part, Request { columns: &columns, rows: None, batch_rows: BATCH_ROWS })? {
                let batch = wanted.rows(&batch?, first, &schema)?;
                first += batch.num_rows() as i64;
                parcel.push(batch)?;
            }
        }
        parcel.finish()
    }

    /// `batch` under `alias`, its columns as they are.
    pub(super) fn batch(&self, alias: &str, batch: RecordBatch) -> Result<Relations> {
        let mut parcel = Parcel::new(self, alias, batch.schema());
        parcel.push(batch)?;
        parcel.finish()
    }
}

/// The Parquet file at `url`, read by the server.
pub(super) fn parquet(url: String) -> RelationType {
    let source = DataSource { format: Some("parquet".to_owned()), paths: vec![url] };
    RelationType::Read(Read { data_source: Some(source) })
}

/// A file that is gone when nobody asks for it any more.
#[derive(Debug)]
struct StagedFile(PathBuf);

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a staged file was left behind");
        }
    }
}

/// Collects batches until they are too many to travel inline, then writes them to a file.
struct Parcel<'a> {
    sender: &'a Sender,
    alias: &'a str,
    schema: SchemaRef,
    waiting: Vec<RecordBatch>,
    bytes: usize,
    staging: Option<(StagedFile, ArrowWriter<File>)>,
}

impl<'a> Parcel<'a> {
    fn new(sender: &'a Sender, alias: &'a str, schema: SchemaRef) -> Self {
        Self { sender, alias, schema, waiting: Vec::new(), bytes: 0, staging: None }
    }

    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.bytes += slice_bytes(&batch);
        if self.bytes <= self.sender.inline_bytes_max {
            self.waiting.push(batch);
            return Ok(());
        }
        if self.staging.is_none() {
            self.staging = Some(self.stage()?);
        }
        let waiting: Vec<RecordBatch> = self.waiting.drain(..).chain([batch]).collect();
        let Some((file, writer)) = &mut self.staging else { return Ok(()) };
        for batch in waiting {
            writer.write(&batch).map_err(|error| failure(&file.0, error))?;
        }
        Ok(())
    }

    fn stage(&self) -> Result<(StagedFile, ArrowWriter<File>)> {
        let directory = self.sender.staging.as_ref().ok_or_else(|| {
            Error::resource_exhausted(format!(
                "the rows of relation {} take more than inline_bytes_max, {} bytes; set a staging directory that the \
                 server reads too",
                self.alias, self.sender.inline_bytes_max
            ))
        })?;
        if file_url(directory).is_none() {
            return Err(unreadable(directory));
        }
        std::fs::create_dir_all(directory).map_err(|error| unwritable(directory).with_source(error))?;
        let path = directory.join(format!("mlops-{}-{}.parquet", self.sender.name, self.alias));
        let file = File::create_new(&path).map_err(|error| unwritable(&path).with_source(error))?;
        let staged = StagedFile(path);
        let writer = ArrowWriter::try_new(file, Arc::clone(&self.schema), None);
        let writer = writer.map_err(|error| failure(&staged.0, error))?;
        Ok((staged, writer))
    }

    fn finish(self) -> Result<Relations> {
        let sql = format!("SELECT * FROM {}", self.alias);
        if let Some((staged, writer)) = self.staging {
            writer.close().map_err(|error| failure(&staged.0, error))?;
            let url = file_url(&staged.0).ok_or_else(|| unreadable(&staged.0))?;
            let named = vec![(self.alias.to_owned(), parquet(url))];
            return Ok(Relations { named, sql, _staged: Some(staged) });
        }
        let mut writer = StreamWriter::try_new(Vec::new(), &self.schema)?;
        // A stream without a batch tells some servers no columns.
        let empty = self.waiting.is_empty().then(|| RecordBatch::new_empty(Arc::clone(&self.schema)));
        for batch in self.waiting.iter().chain(&empty) {
            writer.write(batch)?;
        }
        let data = writer.into_inner()?.into();
        let named = vec![(self.alias.to_owned(), RelationType::Local(LocalRelation { data: Some(data) }))];
        Ok(Relations { named, sql, _staged: None })
    }
}

fn unreadable(path: &Path) -> Error {
    Error::invalid_argument(format!(
        "staging path {} cannot be told to a Spark server; its letters must be of a-z, A-Z, 0-9 and /-_.=",
        path.display()
    ))
}

fn unwritable(path: &Path) -> Error {
    Error::unavailable(format!("cannot write {}", path.display()))
}

fn failure(path: &Path, error: parquet::errors::ParquetError) -> Error {
    let kind = if is_full(&error) { ErrorKind::ResourceExhausted } else { ErrorKind::Unavailable };
    Error::new(kind, format!("cannot write {}", path.display())).with_source(error)
}

/// Whether the times and values of a source are such that a server reads them from Parquet as they are.
pub(super) fn reads_itself(schema: &Schema, wanted: &Wanted) -> bool {
    // Parquet has no seconds; a writer stores plain integers for them.
    let plain = |name: &Arc<str>| {
        schema
            .field_with_name(name)
            .is_ok_and(|field| !matches!(field.data_type(), DataType::Timestamp(TimeUnit::Second, _)))
    };
    let names = [Some(&wanted.timestamp), wanted.created.as_ref()].into_iter().flatten();
    names.chain(wanted.columns().map(|(from, _)| from)).all(plain)
}
