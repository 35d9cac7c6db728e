//! Tables of a database as streams of one partition, by a column that only grows.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
pub(super) mod sqlite;

#[cfg(feature = "postgres")]
pub use postgres::PostgresReader;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteReader;

use std::{fmt, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use mlops_core::{Digest, Error, Result, ResultExt as _};

use super::shape::Wanted;
use crate::stream::{Positions, StreamBatch, StreamSource};

/// Which rows to read.
#[derive(Debug, Clone)]
pub struct SqlQuery {
    /// The table, as it is written in SQL.
    pub relation: Arc<str>,
    /// The column of whole numbers that orders the rows.
    pub cursor: Arc<str>,
    /// Only rows whose cursor is this or greater; all of them when it is 0, those with a cursor below 0 too.
    pub from: u64,
    /// Most rows.
    pub rows_max: usize,
    /// The database's columns, in the order of `schema`.
    pub columns: Vec<String>,
    /// What the answer looks like.
    pub schema: SchemaRef,
}

/// Reads tables of a database.
#[async_trait]
pub trait SqlReader: fmt::Debug + Send + Sync + 'static {
    /// The rows that `query` asks for in order of their cursor, and the cursor of each.
    ///
    /// # Errors
    /// `InvalidArgument` naming the column for a value that is not of the type asked for, for a cursor that is below 0 or
    /// not whole, and for any row of the table without one (it would never be read); `Unavailable` when the database cannot be reached, `FailedPrecondition` when it refuses the query.
    async fn read(&self, query: SqlQuery) -> Result<(Vec<u64>, RecordBatch)>;
}

/// Which rows are read, and the name of their only partition. Another connection, relation or cursor is another
/// partition, because a position in one means nothing in the other.
#[derive(Debug)]
pub(super) struct SqlPlace {
    partition: Arc<str>,
    relation: Arc<str>,
    cursor: Arc<str>,
}

impl SqlPlace {
    pub(super) fn new(connection: &str, relation: &Arc<str>, cursor: &Arc<str>) -> Self {
        // Neither connection nor cursor has a zero byte in its name.
        let digest = Digest::of([connection, relation, cursor].join("\0").as_bytes()).to_string();
        let partition = format!("rows-{}", digest.get(..12).unwrap_or(&digest)).into();
        Self { partition, relation: Arc::clone(relation), cursor: Arc::clone(cursor) }
    }
}

/// One table as a stream that ends where the table ends now.
#[derive(Debug)]
pub(super) struct SqlStream {
    name: String,
    reader: Arc<dyn SqlReader>,
    place: SqlPlace,
    wanted: Wanted,
}

impl SqlStream {
    pub(super) fn new(name: &str, reader: Arc<dyn SqlReader>, place: SqlPlace, wanted: Wanted) -> Self {
        Self { name: name.to_owned(), reader, place, wanted }
    }
}

#[async_trait]
impl StreamSource for SqlStream {
    fn name(&self) -> &str {
        &self.name
    }

    async fn partitions(&self) -> Result<Vec<Arc<str>>> {
        Ok(vec![Arc::clone(&self.place.partition)])
    }

    async fn poll(&self, positions: &Positions, rows_max: usize) -> Result<Option<Vec<StreamBatch>>> {
        let query = SqlQuery {
            relation: Arc::clone(&self.place.relation),
            cursor: Arc::clone(&self.place.cursor),
            from: positions.get(&self.place.partition).copied().unwrap_or(0),
            // One more, so that two rows that share a cursor are seen where one batch ends and the next begins.
            rows_max: rows_max.saturating_add(1),
            columns: self.wanted.columns().map(|(_, name, _)| name.to_owned()).collect(),
            schema: Arc::clone(&self.wanted.schema),
        };
        let what = format!("source \"{}\"", self.name);
        let (mut offsets, mut records) = self.reader.read(query).await.context(&what)?;
        if let Some(twice) = offsets.iter().zip(offsets.iter().skip(1)).find(|(a, b)| a >= b) {
            let cursor = &self.place.cursor;
            return Err(Error::invalid_argument(format!(
                "{what}: column \"{cursor}\" is no cursor: two rows have {}; name a column that no two rows share",
                twice.1
            )));
        }
        if offsets.is_empty() {
            return Ok(None);
        }
        if offsets.len() > rows_max {
            offsets.truncate(rows_max);
            records = records.slice(0, rows_max);
        }
        let partition = Arc::clone(&self.place.partition);
        Ok(Some(vec![StreamBatch { partition, offsets, records, unreadable: Vec::new() }]))
    }

    async fn commit(&self, _: &Positions) -> Result<()> {
        Ok(())
    }
}

/// Column `name` of `t`, between double quotes as both databases want it. Without the `t` SQLite reads a name that no
/// column has as a text.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn quoted(name: &str) -> String {
    format!("t.\"{}\"", name.replace('"', "\"\""))
}

/// Asks for one row whose cursor is null. A question of its own, because an `OR` in the other one would cost it the
/// index.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn without_cursor(query: &SqlQuery) -> String {
    format!("SELECT 1 FROM {} AS t WHERE {} IS NULL LIMIT 1", query.relation, quoted(&query.cursor))
}

/// The rows of `query`: `columns`, the first of which is the cursor, between the parameters `from` and `limit`.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn select(query: &SqlQuery, columns: &[String], [from, limit]: [&str; 2]) -> String {
    let (cursor, columns) = (quoted(&query.cursor), columns.join(", "));
    // All rows at first, so that a cursor below 0 is refused rather than left out.
    let after = if query.from == 0 { format!("{from} = 0") } else { format!("{cursor} >= {from}") };
    format!("SELECT {columns} FROM {} AS t WHERE {after} ORDER BY {cursor} LIMIT {limit}", query.relation)
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn no_cursor(name: &str) -> Error {
    Error::invalid_argument(format!("cursor column \"{name}\" is null in a row, which would never be read"))
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn not_whole(name: &str) -> Error {
    Error::invalid_argument(format!(
        "cursor column \"{name}\" has a number that is not whole; name a column of whole numbers"
    ))
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn cursor_of(name: &str, value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| {
        Error::invalid_argument(format!("cursor column \"{name}\" has a number below 0; it must be from 0"))
    })
}
