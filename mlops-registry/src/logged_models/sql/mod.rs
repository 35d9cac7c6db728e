//! Logged models in the metadata database.
//!
//! Invariant: params, tags and points have no row without the row of their model. Values of points are kept as their 64
//! bits, so NaN and infinities come back as they were.

mod links;
mod port;
mod read;
mod schema;
mod search;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use mlops_core::{Clock, Error, Result, SystemClock};
use mlops_store::MetaStore;

pub(crate) use self::{schema::MIGRATIONS, write::add_points};
use super::record::LoggedModelId;
use crate::{id_source::IdSource, sql_store::sql_store, tracking::TrackingStore};

/// A store of logged models over a [`MetaStore`].
///
/// ```
/// use std::sync::Arc;
/// use mlops_registry::{CreateLoggedModel, ExperimentId, LoggedModelStore, SqlLoggedModelStore, SqlTrackingStore};
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let meta = Arc::new(SqliteMetaStore::in_memory().await?);
/// let tracking = Arc::new(SqlTrackingStore::builder(meta.clone()).build().await?);
/// let models = SqlLoggedModelStore::builder(meta, tracking).build().await?;
/// let net = models.create_logged_model(CreateLoggedModel::new(ExperimentId(0)).with_name("net")).await?;
/// assert_eq!(net.artifact_uri, format!("mlflow-artifacts:/0/models/{}/artifacts", net.id));
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct SqlLoggedModelStore {
    meta: Arc<dyn MetaStore>,
    tracking: Arc<dyn TrackingStore>,
    clock: Arc<dyn Clock>,
    ids: Option<Arc<dyn IdSource>>,
}

/// Puts a [`SqlLoggedModelStore`] together.
#[derive(Debug, Clone)]
#[must_use]
pub struct SqlLoggedModelStoreBuilder {
    store: SqlLoggedModelStore,
}

sql_store!(
    SqlLoggedModelStore,
    SqlLoggedModelStoreBuilder,
    "Gives ids. Default: random ones, seeded by the operating system."
);

impl SqlLoggedModelStoreBuilder {
    /// Brings the tables up to date.
    ///
    /// # Errors
    /// `FailedPrecondition` when the tables are of a newer version, `Unavailable` when the database cannot be reached.
    pub async fn build(self) -> Result<SqlLoggedModelStore> {
        self.store.opened(&MIGRATIONS).await
    }
}

impl SqlLoggedModelStore {
    /// Begins a store with its rows in `meta`, for the experiments and runs of `tracking`, which must keep its rows in
    /// the same database.
    pub fn builder(meta: Arc<dyn MetaStore>, tracking: Arc<dyn TrackingStore>) -> SqlLoggedModelStoreBuilder {
        SqlLoggedModelStoreBuilder { store: Self { meta, tracking, clock: Arc::new(SystemClock::new()), ids: None } }
    }
}

fn unknown(id: &LoggedModelId) -> Error {
    Error::not_found(format!("Logged model with ID '{id}' not found.")).with("model_id", id)
}
