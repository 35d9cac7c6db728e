//! Traces in the metadata database.
//!
//! Invariant: info, tags, metadata, spans and assessments of one call are one transaction; a span is kept as its OTLP
//! JSON, so it comes back as it was.

mod assessment;
mod info;
mod port;
mod schema;
mod search;
mod span;

use std::sync::Arc;

use mlops_core::{Clock, Error, Result, SystemClock};
use mlops_store::{MetaStore, Transaction, TransactionExt as _, params};

use crate::{
    id_source::{IdSource, prefixed_id},
    sql_store::sql_store,
};

/// A trace store over a [`MetaStore`].
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::Timestamp;
/// use mlops_registry::{ExperimentId, SqlTraceStore, TraceInfo, TraceStore};
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = SqlTraceStore::builder(Arc::new(SqliteMetaStore::in_memory().await?)).build().await?;
/// let info = TraceInfo::new("tr-1", ExperimentId(0), Timestamp::from_millis(5));
/// store.start(info.clone()).await?;
/// assert_eq!(store.traces(&["tr-1".to_owned()]).await?, [info]);
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct SqlTraceStore {
    meta: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    ids: Option<Arc<dyn IdSource>>,
}

/// Puts a [`SqlTraceStore`] together.
#[derive(Debug, Clone)]
#[must_use]
pub struct SqlTraceStoreBuilder {
    store: SqlTraceStore,
}

sql_store!(
    SqlTraceStore,
    SqlTraceStoreBuilder,
    "Gives ids of assessments. Default: random ones, seeded by the operating system."
);

impl SqlTraceStoreBuilder {
    /// Brings the tables up to date.
    ///
    /// # Errors
    /// `FailedPrecondition` when the tables are of a newer version, `Unavailable` when the database cannot be reached.
    pub async fn build(self) -> Result<SqlTraceStore> {
        self.store.opened(&schema::MIGRATIONS).await
    }
}

impl SqlTraceStore {
    /// Begins a store with its rows in `meta`.
    pub fn builder(meta: Arc<dyn MetaStore>) -> SqlTraceStoreBuilder {
        SqlTraceStoreBuilder { store: Self { meta, clock: Arc::new(SystemClock::new()), ids: None } }
    }

    fn next_id(&self, prefix: &str) -> Result<String> {
        Ok(prefixed_id(self.ids()?, prefix))
    }
}

fn unknown(id: &str) -> Error {
    Error::not_found(format!("Trace with ID '{id}' not found")).with("trace", id)
}

async fn require_trace(tx: &mut dyn Transaction, id: &str) -> Result<()> {
    let row = tx.query_opt("SELECT id FROM trace_info WHERE id = $1", params![id]).await?;
    row.map(drop).ok_or_else(|| unknown(id))
}
