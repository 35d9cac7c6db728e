//! PostgreSQL. Every column but bytes is asked for as text, in which numbers are exact, and made what the table wants.

use std::{sync::Arc, time::Duration};

use arrow_array::{Array as _, ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use async_trait::async_trait;
use mlops_core::{Error, Result};
use sqlx::{
    AssertSqlSafe, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{SqlQuery, SqlReader, cursor_of, no_cursor, not_whole, quoted, select, without_cursor};
use crate::source::shape::Wanted;

/// Reads one PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresReader {
    pool: PgPool,
}

impl PostgresReader {
    /// Connects to `postgres://user:password@host/database`.
    ///
    /// # Errors
    /// `InvalidArgument` for an invalid URL, `Unavailable` when the server cannot be reached or refuses. The message never repeats the URL, which may hold a
    /// password.
    pub async fn connect(url: &str) -> Result<Self> {
        let options: PgConnectOptions =
            url.parse().map_err(|_| Error::invalid_argument("the URL of a PostgreSQL database is not valid"))?;
        // Times with and without zone are then the same, and written as of ISO 8601.
        let options = options.options([("TimeZone", "UTC"), ("DateStyle", "ISO")]);
        let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(10));
        let pool = pool.connect_with(options).await;
        let pool = pool.map_err(|error| Error::unavailable("PostgreSQL cannot be reached").with_source(error))?;
        Ok(Self { pool })
    }
}

#[async_trait]
impl SqlReader for PostgresReader {
    async fn read(&self, query: SqlQuery) -> Result<(Vec<u64>, RecordBatch)> {
        let relation = &query.relation;
        let fields = || query.columns.iter().zip(query.schema.fields());
        let cursor = quoted(&query.cursor);
        // A cast alone would round, and rows in between would come twice or never.
        let cursor = format!("CASE WHEN {cursor} = trunc({cursor}) THEN {cursor}::bigint END");
        let columns = fields().map(|(name, field)| asked(name, field.data_type()));
        let columns: Vec<String> = std::iter::once(cursor).chain(columns).collect();
        let sql = select(&query, &columns, ["$1::bigint", "$2"]);
        let refused = |error: sqlx::Error| match error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
                Error::unavailable("PostgreSQL cannot be reached").with_source(error)
            }
            _ => Error::failed_precondition(format!("PostgreSQL does not answer for {relation}")).with_source(error),
        };
        let lacking = sqlx::query(AssertSqlSafe(without_cursor(&query))).fetch_optional(&self.pool).await;
        if lacking.map_err(refused)?.is_some() {
            return Err(no_cursor(&query.cursor));
        }
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(i64::try_from(query.from).unwrap_or(i64::MAX))
            .bind(i64::try_from(query.rows_max).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await
            .map_err(refused)?;
        let cursors = rows.iter().map(|row| {
            let cursor: Option<i64> = row.try_get(0).map_err(refused)?;
            cursor_of(&query.cursor, cursor.ok_or_else(|| not_whole(&query.cursor))?)
        });
        let cursors = cursors.collect::<Result<Vec<u64>>>()?;
        let mut found: Vec<ArrayRef> = Vec::with_capacity(query.columns.len());
        for (at, (name, field)) in fields().enumerate() {
            found.push(if is_bytes(field.data_type()) {
                let other = |error: sqlx::Error| {
                    Error::invalid_argument(format!("column \"{name}\" must be bytea")).with_source(error)
                };
                let column = rows.iter().map(|row| row.try_get::<Option<&[u8]>, _>(at + 1).map_err(other));
                Arc::new(BinaryArray::from_iter(column.collect::<Result<Vec<_>>>()?))
            } else {
                let column = rows.iter().map(|row| row.try_get::<Option<&str>, _>(at + 1).map_err(refused));
                Arc::new(column.collect::<Result<StringArray>>()?)
            });
        }
        let named = query.columns.iter().zip(&found);
        let named = named.map(|(name, column)| Field::new(name, column.data_type().clone(), true));
        let batch = RecordBatch::try_new(Arc::new(Schema::new(named.collect::<Vec<_>>())), found)?;
        let wanted = Wanted::by_name(&query.columns, &query.schema);
        Ok((cursors, wanted.shape(&batch, true)?))
    }
}

/// Column `name` as it is, where it holds bytes, else as a text that [`Wanted::shape`] reads as `data_type`. A time that
/// is infinite or before Christ is no text of a time and refused.
fn asked(name: &str, data_type: &DataType) -> String {
    let name = quoted(name);
    if is_bytes(data_type) { name } else { format!("{name}::text") }
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}
