//! Which runs a home has seen: the program's own table in the metadata database.
//!
//! Invariant: a home holds one stream. A run that did not finish is the one to go on with, unless it was begun
//! with other settings.

use std::sync::Arc;

use mlops::{
    core::{Digest, Error, Result},
    store::{
        Home, MetaStore as _, MetaStoreExt as _, Migration, Migrations, SqliteMetaStore, SqliteSettings,
        TransactionExt as _, params,
    },
};

use crate::{results::Results, stream::Stream};

const MIGRATIONS: Migrations = Migrations {
    namespace: "lifecycle",
    steps: &[Migration {
        version: 1,
        name: "campaigns",
        sql: "CREATE TABLE lifecycle_campaign (
            number BIGINT PRIMARY KEY,
            stream TEXT NOT NULL,
            data TEXT NOT NULL,
            settings TEXT NOT NULL,
            results TEXT
        )",
    }],
};

/// The open metadata database of a home.
#[derive(Debug)]
pub struct State {
    meta: Arc<SqliteMetaStore>,
}

impl State {
    /// Opens or creates `meta.db` in the home.
    pub async fn open(home: &Home) -> Result<Self> {
        let meta = Arc::new(SqliteMetaStore::open(&home.join("meta.db"), SqliteSettings::default()).await?);
        meta.migrate(&MIGRATIONS).await?;
        Ok(Self { meta })
    }

    /// The database, for the parts that keep their tables in it.
    pub fn meta(&self) -> Arc<SqliteMetaStore> {
        Arc::clone(&self.meta)
    }

    /// The number of the run to carry out: the unfinished one with these settings, or the next.
    pub async fn begin(&self, stream: &Stream, data: &Digest, settings: &Digest) -> Result<u64> {
        let mut tx = self.meta.begin().await?;
        let sql = "SELECT stream FROM lifecycle_campaign WHERE data <> $1 LIMIT 1";
        if let Some(other) = tx.query_opt(sql, params![data.to_string()]).await? {
            return Err(Error::failed_precondition(format!(
                "this home holds another stream ({}); choose another directory with --home",
                other.get::<String>("stream")?
            )));
        }
        let sql = "SELECT number FROM lifecycle_campaign WHERE settings = $1 AND results IS NULL ORDER BY number DESC LIMIT 1";
        if let Some(unfinished) = tx.query_opt(sql, params![settings.to_string()]).await? {
            return unfinished.get("number");
        }
        let last: Option<u64> =
            tx.query_one("SELECT MAX(number) AS number FROM lifecycle_campaign", &[]).await?.get("number")?;
        let number = last.unwrap_or(0) + 1;
        let sql = "INSERT INTO lifecycle_campaign (number, stream, data, settings) VALUES ($1, $2, $3, $4)";
        let values = params![number, &stream.description, data.to_string(), settings.to_string()];
        tx.execute(sql, values).await?;
        tx.commit().await?;
        Ok(number)
    }

    /// Marks a run as finished and keeps what it found.
    pub async fn finish(&self, campaign: u64, results: &Results) -> Result<()> {
        let json = serde_json::to_string(results)
            .map_err(|error| Error::internal("results are not JSON").with_source(error))?;
        let sql = "UPDATE lifecycle_campaign SET results = $1 WHERE number = $2";
        self.meta.execute(sql, params![json, campaign]).await.map(drop)
    }
}
