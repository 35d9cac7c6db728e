//! SQLite files, opened for reading alone.

use std::{path::PathBuf, sync::Arc};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, TimeUnit};
use async_trait::async_trait;
use mlops_core::{Error, Result, Timestamp};
use rusqlite::{Connection, ErrorCode, OpenFlags, types::ValueRef};

use super::{SqlQuery, SqlReader, cursor_of, no_cursor, not_whole, quoted, select, without_cursor};
use crate::{
    cell::{Cell, ColumnBuilder},
    source::shape::is_finer,
};

/// Reads one SQLite file. Times are texts as of RFC 3339 with microseconds at most, or whole numbers in the unit of the table's column.
#[derive(Debug, Clone)]
pub struct SqliteReader {
    path: PathBuf,
}

impl SqliteReader {
    /// A reader of the file at `path`, which is opened at every read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

#[async_trait]
impl SqlReader for SqliteReader {
    async fn read(&self, query: SqlQuery) -> Result<(Vec<u64>, RecordBatch)> {
        let path = self.path.clone();
        let work = move || read(&path, &query);
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("reading a database panicked"))?
    }
}

fn read(path: &std::path::Path, query: &SqlQuery) -> Result<(Vec<u64>, RecordBatch)> {
    let unreachable =
        |error| Error::unavailable(format!("database {} cannot be opened", path.display())).with_source(error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(unreachable)?;
    let refused = |error: rusqlite::Error| {
        let message = format!("database {} does not answer for {}", path.display(), query.relation);
        use ErrorCode as C;
        match error.sqlite_error_code() {
            Some(C::DatabaseBusy | C::DatabaseLocked | C::SystemIoFailure) => Error::unavailable(message),
            _ => Error::failed_precondition(message),
        }
        .with_source(error)
    };
    let mut lacking = connection.prepare(&without_cursor(query)).map_err(refused)?;
    if lacking.exists([]).map_err(refused)? {
        return Err(no_cursor(&query.cursor));
    }
    let columns = std::iter::once(query.cursor.as_ref()).chain(query.columns.iter().map(String::as_str));
    let columns: Vec<String> = columns.map(quoted).collect();
    let sql = select(query, &columns, ["?1", "?2"]);
    let mut statement = connection.prepare(&sql).map_err(refused)?;
    let from = i64::try_from(query.from).unwrap_or(i64::MAX);
    let rows_max = i64::try_from(query.rows_max).unwrap_or(i64::MAX);
    let mut rows = statement.query([from, rows_max]).map_err(refused)?;
    let mut offsets = Vec::new();
    let fields = query.schema.fields();
    let builder = |field: &Arc<arrow_schema::Field>| ColumnBuilder::new(field.data_type(), 0);
    let mut builders = fields.iter().map(builder).collect::<Result<Vec<_>>>()?;
    while let Some(row) = rows.next().map_err(refused)? {
        let cursor = match row.get_ref(0).map_err(refused)? {
            ValueRef::Integer(cursor) => cursor,
            _ => return Err(not_whole(&query.cursor)),
        };
        offsets.push(cursor_of(&query.cursor, cursor)?);
        for (at, (builder, field)) in builders.iter_mut().zip(fields).enumerate() {
            let value = row.get_ref(at + 1).map_err(refused)?;
            let cell = cell(value, field.data_type()).ok_or_else(|| {
                let found = value.data_type();
                let (name, wanted) = (query.columns.get(at).map_or("", |name| name), field.data_type());
                Error::invalid_argument(format!("column \"{name}\" must be {wanted}; a row has {found} there"))
            })?;
            builder.push(cell)?;
        }
    }
    let columns = builders.into_iter().map(ColumnBuilder::finish).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(offsets.len()));
    Ok((offsets, RecordBatch::try_new_with_options(Arc::clone(&query.schema), columns, &options)?))
}

/// `value` as a cell of `data_type`, none when it is not one exactly.
pub(in crate::source) fn cell<'a>(value: ValueRef<'a>, data_type: &DataType) -> Option<Cell<'a>> {
    use DataType as T;
    let fits = |int: i64| match data_type {
        T::Int8 => i8::try_from(int).is_ok(),
        T::Int16 => i16::try_from(int).is_ok(),
        T::Int32 => i32::try_from(int).is_ok(),
        _ => true,
    };
    let text = |text: &'a [u8]| std::str::from_utf8(text).ok();
    Some(match (data_type, value) {
        (_, ValueRef::Null) => Cell::Null,
        (T::Boolean, ValueRef::Integer(int @ (0 | 1))) => Cell::Bool(int == 1),
        (T::Int8 | T::Int16 | T::Int32 | T::Int64, ValueRef::Integer(int)) if fits(int) => Cell::Int(int),
        (T::Timestamp(_, _), ValueRef::Integer(int)) => Cell::Int(int),
        (T::Date32, ValueRef::Integer(days)) if i32::try_from(days).is_ok() => Cell::Int(days),
        (T::Timestamp(unit, _), ValueRef::Text(bytes)) => {
            let text = text(bytes).filter(|text| !is_finer(text, TimeUnit::Microsecond))?;
            Cell::Int(ticks(text.parse().ok()?, *unit)?)
        }
        (T::Float64, ValueRef::Real(float)) => Cell::Float(float),
        (T::Float32, ValueRef::Real(float)) if is_single(float) => Cell::Float(float),
        // Every whole number of 53 bits is a double.
        (T::Float64, ValueRef::Integer(int)) if int.unsigned_abs() <= 1 << 53 => {
            #[allow(clippy::cast_precision_loss, reason = "it was checked to have at most 53 bits")]
            let float = int as f64;
            Cell::Float(float)
        }
        (T::Utf8 | T::LargeUtf8, ValueRef::Text(bytes)) => Cell::Text(text(bytes)?),
        (T::Binary, ValueRef::Blob(bytes)) => Cell::Bytes(bytes),
        _ => return None,
    })
}

/// Whether `float` is one of 32 bits too.
#[allow(clippy::cast_possible_truncation, clippy::float_cmp, reason = "it is compared with what the cast leaves")]
fn is_single(float: f64) -> bool {
    f64::from(float as f32) == float
}

/// `time` in ticks of `unit`, none when it is finer or too far away.
fn ticks(time: Timestamp, unit: TimeUnit) -> Option<i64> {
    let micros = time.as_micros();
    let whole = |per_tick: i64| (micros % per_tick == 0).then_some(micros / per_tick);
    match unit {
        TimeUnit::Second => whole(1_000_000),
        TimeUnit::Millisecond => whole(1_000),
        TimeUnit::Microsecond => Some(micros),
        TimeUnit::Nanosecond => micros.checked_mul(1_000),
    }
}
