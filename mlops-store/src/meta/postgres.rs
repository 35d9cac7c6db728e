//! Metadata in PostgreSQL, for several processes on several machines.
//!
//! Invariant: transactions are serialisable; the loser of a race gets `Conflict` and writes
//! nothing.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{Error, ErrorKind, Result};
use sqlx::{
    AssertSqlSafe, Column as _, Executor as _, PgPool, Postgres, Row as _, TypeInfo as _, ValueRef as _,
    error::DatabaseError,
    postgres::{PgArguments, PgPoolOptions, PgRow},
};

use super::{
    Dialect, MetaStore, Transaction,
    value::{Row, Type, Value},
};

/// A PostgreSQL metadata database.
#[derive(Debug, Clone)]
pub struct PostgresMetaStore {
    pool: PgPool,
}

impl PostgresMetaStore {
    /// Connects to `postgres://user:password@host/database`.
    ///
    /// # Errors
    /// `Unavailable` when the server cannot be reached or refuses. The message never repeats the
    /// URL, which may hold a password.
    pub async fn connect(url: &str, connections_max: u32) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(connections_max.max(1))
            .acquire_timeout(Duration::from_secs(10))
            .connect(url)
            .await
            .map_err(|error| Error::unavailable(format!("PostgreSQL cannot be reached: {error}")).with_source(error))?;
        Ok(Self { pool })
    }
}

#[async_trait]
impl MetaStore for PostgresMetaStore {
    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let inner = self.pool.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE").await.map_err(from_sqlx)?;
        Ok(Box::new(PostgresTransaction { inner }))
    }

    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let rows = self.pool.fetch_all(bind(sql, params)).await.map_err(from_sqlx)?;
        convert(&rows)
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }
}

#[derive(Debug)]
struct PostgresTransaction {
    inner: sqlx::Transaction<'static, Postgres>,
}

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        let done = self.inner.execute(bind(sql, params)).await.map_err(from_sqlx)?;
        Ok(done.rows_affected())
    }

    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let rows = self.inner.fetch_all(bind(sql, params)).await.map_err(from_sqlx)?;
        convert(&rows)
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.inner.commit().await.map_err(from_sqlx)
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }
}

/// The text of every statement is ours; values travel as parameters.
fn bind(sql: &str, params: &[Value]) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    params.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| match value {
        Value::Null(Type::Int) => query.bind(None::<i64>),
        Value::Null(Type::Real) => query.bind(None::<f64>),
        Value::Null(Type::Text) => query.bind(None::<String>),
        Value::Null(Type::Blob) => query.bind(None::<Vec<u8>>),
        Value::Int(v) => query.bind(*v),
        Value::Real(v) => query.bind(*v),
        Value::Text(v) => query.bind(v.clone()),
        Value::Blob(v) => query.bind(v.clone()),
    })
}

fn convert(rows: &[PgRow]) -> Result<Vec<Row>> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let columns: Arc<[String]> = first.columns().iter().map(|column| column.name().to_owned()).collect();
    let row = |row: &PgRow| {
        let values = (0..columns.len()).map(|index| value_at(row, index)).collect::<Result<_, _>>();
        values.map(|values| Row::new(Arc::clone(&columns), values)).map_err(from_sqlx)
    };
    rows.iter().map(row).collect()
}

fn value_at(row: &PgRow, index: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    let kind = raw.type_info().into_owned();
    let null = raw.is_null();
    Ok(match kind.name() {
        "INT8" if null => Value::Null(Type::Int),
        "INT8" => Value::Int(row.try_get(index)?),
        "INT4" => Value::Int(i64::from(row.try_get::<i32, _>(index)?)),
        "BOOL" => Value::Int(i64::from(row.try_get::<bool, _>(index)?)),
        "FLOAT8" if null => Value::Null(Type::Real),
        "FLOAT8" => Value::Real(row.try_get(index)?),
        "BYTEA" if null => Value::Null(Type::Blob),
        "BYTEA" => Value::Blob(row.try_get(index)?),
        _ if null => Value::Null(Type::Text),
        _ => Value::Text(row.try_get(index)?),
    })
}

fn from_sqlx(error: sqlx::Error) -> Error {
    let (kind, message) = match &error {
        sqlx::Error::Database(database) => describe(database.as_ref()),
        // The pool replaces a connection that broke.
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            (ErrorKind::Unavailable, format!("metadata database cannot be reached: {error}"))
        }
        _ => (ErrorKind::Internal, format!("metadata database: {error}")),
    };
    Error::new(kind, message).with_source(error)
}

/// What PostgreSQL reports, in the words of the metadata database.
fn describe(database: &dyn DatabaseError) -> (ErrorKind, String) {
    let code = database.code().unwrap_or_default();
    let (kind, said) = (ErrorKind::from_sqlstate(&code), database.message());
    let message = match (kind, code.as_ref()) {
        (_, "23505") => format!("a row with this key exists: {said}"),
        (_, "23503" | "23514") => format!("metadata constraint: {said}"),
        (_, "53100") => "metadata database: disk is full".to_owned(),
        (_, "53200") => "metadata database: memory is short".to_owned(),
        (ErrorKind::AlreadyExists, _) => said.to_owned(),
        (ErrorKind::Conflict, _) => "a concurrent transaction was faster".to_owned(),
        (ErrorKind::Unavailable, "57014") => format!("metadata statement was ended: {said}"),
        (ErrorKind::Unavailable, _) => format!("metadata database cannot be reached: {said}"),
        (ErrorKind::DataLoss, _) => format!("metadata database is damaged: {said}"),
        _ => format!("metadata statement failed: {said}"),
    };
    (kind, message)
}
