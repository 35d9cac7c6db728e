//! An online store in PostgreSQL, for several processes on several machines.
//!
//! Every record has a revision. A write reads the records that it changes and puts the new ones in the place of those
//! revisions, all in one statement; when another writer was faster it is done again from what is there now. So nothing
//! is lost between two writers, whatever a record holds.

use std::{future::Future, str::FromStr as _, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{Error, ErrorKind, Result, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::{
    PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions},
};

use super::{EntityKey, OnlineStore, ReadKeys, ScanPage, Update, WriteBatch};

/// Whether the tables are there, in the schema where they would be created.
const CREATED: &str = "
    SELECT to_regclass(quote_ident(current_schema()) || '.mlops_online_views') IS NOT NULL
    AND to_regclass(quote_ident(current_schema()) || '.mlops_online_records') IS NOT NULL";

/// Creation may be tried by several processes that connect; the lock lets one at a time.
const CREATE: &str = "
    SELECT pg_advisory_xact_lock(5713629841);
    CREATE TABLE IF NOT EXISTS mlops_online_views (
        view BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        watermark BIGINT
    );
    CREATE TABLE IF NOT EXISTS mlops_online_records (
        view BIGINT NOT NULL,
        key BYTEA NOT NULL,
        revision BIGINT NOT NULL,
        record BYTEA NOT NULL,
        PRIMARY KEY (view, key)
    );";

/// The number of a view, made when there is none, and its watermark moved. An update without effect gives the row.
const VIEW: &str = "
    INSERT INTO mlops_online_views (name, watermark) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET watermark = GREATEST(mlops_online_views.watermark, excluded.watermark)
    RETURNING view";

/// One row per key, in order: subqueries, so that each is a look at the index whatever the planner thinks of the table.
const RECORDS: &str = "
    SELECT found.revision, found.record
    FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS asked (name, key, number)
    LEFT JOIN LATERAL (
        SELECT revision, record FROM mlops_online_records
        WHERE view = (SELECT view FROM mlops_online_views WHERE mlops_online_views.name = asked.name)
        AND mlops_online_records.key = asked.key
        OFFSET 0
    ) AS found ON TRUE
    ORDER BY asked.number";

/// In order of keys, so that two writers wait for each other instead of both for both.
const SWAP: &str = "
    INSERT INTO mlops_online_records (view, key, revision, record)
    SELECT $1, key, revision, record FROM unnest($2::bytea[], $3::bigint[], $4::bytea[]) AS new (key, revision, record)
    ORDER BY key
    ON CONFLICT (view, key) DO UPDATE SET revision = excluded.revision, record = excluded.record
    WHERE mlops_online_records.revision = excluded.revision - 1";

const SCAN: &str = "
    SELECT key, record FROM mlops_online_records
    WHERE view = (SELECT view FROM mlops_online_views WHERE name = $1)
    AND ($2::bytea IS NULL OR key > $2) ORDER BY key LIMIT $3";

const WATERMARK: &str = "SELECT watermark FROM mlops_online_views WHERE name = $1";

/// How PostgreSQL is used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct PostgresOnlineSettings {
    /// Most connections.
    pub connections_max: u32,
    /// Times that a write is done again because another writer was faster.
    pub attempts_max: u32,
    /// Longest wait for a connection.
    pub timeout: Duration,
    /// Longest time that one statement takes; the server ends it then.
    pub statement_timeout: Duration,
}

impl Default for PostgresOnlineSettings {
    fn default() -> Self {
        Self {
            connections_max: 8,
            attempts_max: 100,
            timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

/// Online features in PostgreSQL: two tables, `mlops_online_views` and `mlops_online_records`, in the first schema of
/// the search path.
#[derive(Debug, Clone)]
pub struct PostgresOnlineStore {
    pool: PgPool,
    settings: PostgresOnlineSettings,
}

/// What is known of a key: its revision, 0 when there is no record, and the record.
type Known = (i64, Option<Vec<u8>>);

impl PostgresOnlineStore {
    /// Connects to `postgres://user:password@host/database` and creates the tables when they are not there;
    /// where they are, the role needs no right to create any.
    ///
    /// # Errors
    /// `InvalidArgument` for an address that is none, `Unavailable` when the server cannot be reached,
    /// `PermissionDenied` when it refuses. Messages never repeat the address, which may hold a password.
    pub async fn connect(url: &str, settings: PostgresOnlineSettings) -> Result<Self> {
        // The server counts whole milliseconds, of which 0 would mean no end.
        let most = settings.statement_timeout.as_millis().clamp(1, i32::MAX as u128);
        let address = PgConnectOptions::from_str(url).map_err(failed)?;
        let address = address.options([("statement_timeout", most.to_string())]);
        let options = PgPoolOptions::new().max_connections(settings.connections_max.max(1));
        let pool = options.acquire_timeout(settings.timeout).connect_with(address).await.map_err(failed)?;
        let store = Self { pool, settings };
        if !store.within(sqlx::query_scalar::<_, bool>(CREATED).fetch_one(&store.pool)).await? {
            let mut transaction = store.within(store.pool.begin()).await?;
            store.within(sqlx::raw_sql(CREATE).execute(&mut *transaction)).await?;
            store.within(transaction.commit()).await?;
        }
        Ok(store)
    }

    /// The answer of one statement. The server ends what takes too long; one that is silent is not waited for longer.
    async fn within<T>(&self, statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T> {
        let most = self.settings.timeout.saturating_add(self.settings.statement_timeout);
        match tokio::time::timeout(most, statement).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(Error::unavailable(format!("PostgreSQL did not answer within {most:?}"))),
        }
    }

    /// What is known of the keys, in order, all of one moment.
    async fn known(&self, names: Vec<&str>, keys: Vec<&[u8]>) -> Result<Vec<Known>> {
        let rows: Vec<(Option<i64>, Option<Vec<u8>>)> =
            self.within(sqlx::query_as(RECORDS).bind(names).bind(keys).fetch_all(&self.pool)).await?;
        Ok(rows.into_iter().map(|(revision, record)| (revision.unwrap_or(0), record)).collect())
    }

    /// One try; false when another writer was faster.
    async fn try_write(&self, batch: &WriteBatch) -> Result<bool> {
        let WriteBatch { table, updates, watermark } = batch;
        let (mut revisions, mut records) = (Vec::with_capacity(updates.len()), Vec::with_capacity(updates.len()));
        if !updates.is_empty() {
            let keys = updates.iter().map(|(key, _)| key.as_ref()).collect();
            let known = self.known(vec![table.as_ref(); updates.len()], keys).await?;
            for ((_, update), (revision, record)) in updates.iter().zip(known) {
                revisions.push(revision + 1);
                records.push(update.apply(record.as_deref())?);
            }
        }
        let mut transaction = self.within(self.pool.begin()).await?;
        if !updates.is_empty() && !self.swap(&mut transaction, table, updates, &revisions, &records).await? {
            return Ok(false);
        }
        // Last, because the row of a view is held until the end by whoever moves its watermark.
        if let Some(watermark) = watermark {
            self.view(&mut transaction, table, Some(*watermark)).await?;
        }
        self.within(transaction.commit()).await?;
        Ok(true)
    }

    /// The number of a view.
    async fn view(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        name: &str,
        watermark: Option<Timestamp>,
    ) -> Result<i64> {
        let watermark = watermark.map(Timestamp::as_micros);
        self.within(sqlx::query_scalar(VIEW).bind(name).bind(watermark).fetch_one(&mut **transaction)).await
    }

    /// Puts the records in the place of those of one revision before; false when one of these is not there any more.
    async fn swap(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        name: &str,
        updates: &[(EntityKey, Update)],
        revisions: &[i64],
        records: &[Vec<u8>],
    ) -> Result<bool> {
        let found = "SELECT view FROM mlops_online_views WHERE name = $1";
        let found: Option<i64> =
            self.within(sqlx::query_scalar(found).bind(name).fetch_optional(&mut **transaction)).await?;
        let number = match found {
            Some(number) => number,
            None => self.view(transaction, name, None).await?,
        };
        let keys: Vec<&[u8]> = updates.iter().map(|(key, _)| key.as_ref()).collect();
        let swap = sqlx::query(SWAP).bind(number).bind(keys).bind(revisions).bind(records);
        let done = self.within(swap.execute(&mut **transaction)).await?;
        Ok(done.rows_affected() == updates.len() as u64)
    }
}

#[async_trait]
impl OnlineStore for PostgresOnlineStore {
    async fn write(&self, batch: WriteBatch) -> Result<()> {
        for _ in 0..self.settings.attempts_max.max(1) {
            match self.try_write(&batch).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict(format!(
            "other writers of \"{}\" were faster {} times in a row; write again, or raise attempts_max",
            batch.table, self.settings.attempts_max
        )))
    }

    async fn read(&self, reads: Vec<ReadKeys>) -> Result<Vec<Vec<Option<Bytes>>>> {
        let asked =
            || reads.iter().flat_map(|read| read.keys.iter().map(move |key| (read.table.as_ref(), key.as_ref())));
        let (names, keys) = asked().unzip();
        let mut found = self.known(names, keys).await?.into_iter();
        let one = |read: &ReadKeys| {
            let found = found.by_ref().take(read.keys.len());
            found.map(|(_, record)| record.map(Bytes::from)).collect()
        };
        Ok(reads.iter().map(one).collect())
    }

    /// In order of keys; a page begins after the last key of the one before.
    async fn scan(&self, table: &str, from: Option<Bytes>, records_max: usize) -> Result<ScanPage> {
        let limit = i64::try_from(records_max.max(1)).unwrap_or(i64::MAX);
        let page = sqlx::query_as(SCAN).bind(table).bind(from.map(|from| from.to_vec())).bind(limit);
        let found: Vec<(Vec<u8>, Vec<u8>)> = self.within(page.fetch_all(&self.pool)).await?;
        let records: Vec<_> = found.into_iter().map(|(key, record)| (Bytes::from(key), Bytes::from(record))).collect();
        let next = records.last().map(|(key, _)| key.clone());
        Ok(ScanPage { records, next })
    }

    async fn watermark(&self, table: &str) -> Result<Option<Timestamp>> {
        let found: Option<Option<i64>> =
            self.within(sqlx::query_scalar(WATERMARK).bind(table).fetch_optional(&self.pool)).await?;
        Ok(found.flatten().map(Timestamp::from_micros))
    }

    /// Nothing to do: a write is durable when it returns.
    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// A failed statement in the words of the core.
fn failed(error: sqlx::Error) -> Error {
    let kind = match &error {
        sqlx::Error::Configuration(_) => ErrorKind::InvalidArgument,
        sqlx::Error::Database(database) => {
            let database: &PgDatabaseError = match database.try_downcast_ref() {
                Some(database) => database,
                None => return Error::internal(format!("PostgreSQL: {error}")).with_source(error),
            };
            ErrorKind::from_sqlstate(database.code())
        }
        // The tables hold something else than this store puts there.
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::TypeNotFound { .. } => ErrorKind::Internal,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("PostgreSQL: {error}")).with_source(error)
}
