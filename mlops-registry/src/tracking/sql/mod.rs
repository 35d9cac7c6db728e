//! Tracking in the metadata database.
//!
//! Invariant: a batch of metrics, params and tags is one transaction. Metric values are kept as their 64 bits, so NaN
//! and infinities come back as they were.

mod cache;
mod experiment;
mod find;
mod history;
mod keys;
pub(super) mod latest;
mod log;
mod points;
mod port;
mod record;
mod run;
mod schema;
mod search;
mod select;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use mlops_core::{Clock, Result, SystemClock};
use mlops_store::{Dialect, MetaStore, MetaStoreExt as _, Row, Transaction, params};

use crate::{
    id_source::IdSource,
    logged_models,
    retry::{Statement, on_conflict},
    sql_store::sql_store,
};

/// Bytes of runs that are kept in memory unless set otherwise.
const CACHED_BYTES: usize = 4 << 20;

/// A tracking store over a [`MetaStore`].
#[derive(Debug, Clone)]
pub struct SqlTrackingStore {
    meta: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    ids: Option<Arc<dyn IdSource>>,
    artifact_root: String,
    keys: Arc<keys::KeyNumbers>,
    cache: Option<Arc<cache::RunCache>>,
}

/// Puts a [`SqlTrackingStore`] together.
#[derive(Debug, Clone)]
#[must_use]
pub struct SqlTrackingStoreBuilder {
    store: SqlTrackingStore,
}

sql_store!(
    SqlTrackingStore,
    SqlTrackingStoreBuilder,
    "Gives run ids. Default: random ones, seeded by the operating system."
);

impl SqlTrackingStoreBuilder {
    /// URI below which experiments keep their files unless they say otherwise. Default `mlflow-artifacts:`.
    pub fn with_artifact_root(mut self, uri: impl Into<String>) -> Self {
        self.store.artifact_root = uri.into().trim_end_matches('/').to_owned();
        self
    }

    /// About how many bytes of runs are kept in memory, so that a search reads those that were changed since the last one
    /// only; 0: none. Default 4 MiB. On PostgreSQL none are kept.
    pub fn with_cached_bytes(mut self, bytes: usize) -> Self {
        self.store.cache = cached(self.store.meta.dialect(), bytes);
        self
    }

    /// Brings the tables up to date and creates the experiment `Default`, number 0.
    ///
    /// # Errors
    /// `FailedPrecondition` when the tables are of a newer version, `Unavailable` when the database cannot be reached.
    pub async fn build(self) -> Result<SqlTrackingStore> {
        let store = self.store.opened(&schema::MIGRATIONS).await?;
        while on_conflict!(store.convert_points())? {}
        // A batch of a run writes the points of logged models as well.
        store.meta.migrate(&logged_models::MIGRATIONS).await?;
        let sql = "INSERT INTO tracking_experiment VALUES (0, 'Default', $1, 0, $2, $2) ON CONFLICT (id) DO NOTHING";
        let location = format!("{}/0", store.artifact_root);
        on_conflict!(store.meta.execute(sql, params![&location, store.now()]))?;
        Ok(store)
    }
}

impl SqlTrackingStore {
    /// Begins a store with its rows in `meta`.
    pub fn builder(meta: Arc<dyn MetaStore>) -> SqlTrackingStoreBuilder {
        let artifact_root = "mlflow-artifacts:".to_owned();
        let (clock, keys) = (Arc::new(SystemClock::new()), Arc::default());
        let cache = cached(meta.dialect(), CACHED_BYTES);
        SqlTrackingStoreBuilder { store: Self { meta, clock, ids: None, artifact_root, keys, cache } }
    }

    /// Moves some points of the first version of the tables into segments; false when there are none.
    async fn convert_points(&self) -> Result<bool> {
        if self.meta.query("SELECT run_id FROM tracking_metric LIMIT 1", &[]).await?.is_empty() {
            return Ok(false);
        }
        let mut tx = self.meta.begin().await?;
        let more = points::convert_some(tx.as_mut()).await?;
        tx.commit().await?;
        Ok(more)
    }
}

fn cached(dialect: Dialect, bytes: usize) -> Option<Arc<cache::RunCache>> {
    (dialect == Dialect::Sqlite && bytes > 0).then(|| Arc::new(cache::RunCache::new(bytes)))
}

fn pairs(rows: &[Row]) -> Result<BTreeMap<String, String>> {
    rows.iter().map(|row| Ok((row.get("key")?, row.get("value")?))).collect()
}

async fn execute_all(tx: &mut dyn Transaction, statements: &[Statement]) -> Result<u64> {
    let mut changed = 0;
    for (sql, values) in statements {
        changed += tx.execute(sql, values).await?;
    }
    Ok(changed)
}
