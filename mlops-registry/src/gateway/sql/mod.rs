//! The configuration of a gateway in the metadata database.
//!
//! Invariant: what one record says of another is a column, so that a statement can follow it; all else is its content.

mod budget;
mod endpoint;
mod guardrail;
mod link;
mod model;
mod rewrap;
mod schema;
mod secret;

use std::sync::Arc;

use mlops_core::{Clock, Error, KeyProvider, Result, SystemClock};
use mlops_store::{MetaStore, Transaction, TransactionExt as _, params};

use self::schema::MIGRATIONS;
use super::{LISTED_MAX, LocalKeys};
use crate::{
    id_source::{IdSource, prefixed_id},
    sql_store::sql_store,
    webhooks::WebhookTargets,
};

/// A store over a [`MetaStore`], which seals secrets under a key of a [`KeyProvider`].
///
/// ```
/// use std::sync::Arc;
/// use mlops_registry::gateway::{CreateSecret, LocalKeys, SecretStore, SqlGatewayStore};
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let keys = LocalKeys::from_passphrase("correct horse battery staple", 1)?;
/// let store = SqlGatewayStore::builder(Arc::new(SqliteMetaStore::in_memory().await?), keys).build().await?;
/// let made = store.create_secret(CreateSecret::new("openai", [("api_key", "sk-0123456789abcdef")])).await?;
/// assert_eq!(store.secret(&made.id).await?.masked["api_key"], "sk-...cdef");
/// assert_eq!(store.values(&made.id).await?.get("api_key"), Some("sk-0123456789abcdef"));
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct SqlGatewayStore {
    meta: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    ids: Option<Arc<dyn IdSource>>,
    keys: Arc<dyn KeyProvider>,
    key_id: String,
    targets: WebhookTargets,
}

/// Puts a [`SqlGatewayStore`] together.
#[derive(Debug, Clone)]
#[must_use]
pub struct SqlGatewayStoreBuilder {
    store: SqlGatewayStore,
}

sql_store!(SqlGatewayStore, SqlGatewayStoreBuilder, "Gives ids. Default: random ones, seeded by the operating system.");

impl SqlGatewayStoreBuilder {
    /// Which addresses a secret may send requests to. Default: `https` to public ones.
    pub fn with_targets(mut self, targets: WebhookTargets) -> Self {
        self.store.targets = targets;
        self
    }

    /// Brings the tables up to date.
    ///
    /// # Errors
    /// `FailedPrecondition` when the tables are of a newer version, `Unavailable` when the database cannot be reached.
    pub async fn build(self) -> Result<SqlGatewayStore> {
        self.store.opened(&MIGRATIONS).await
    }
}

impl SqlGatewayStore {
    /// Begins a store with its rows in `meta` and the key of its secrets in this process.
    pub fn builder(meta: Arc<dyn MetaStore>, keys: LocalKeys) -> SqlGatewayStoreBuilder {
        let key_id = keys.key_id().to_owned();
        Self::builder_with_keys(meta, Arc::new(keys), key_id)
    }

    /// Begins a store with its rows in `meta` and the key of its secrets at a provider, such as a key service.
    pub fn builder_with_keys(
        meta: Arc<dyn MetaStore>,
        keys: Arc<dyn KeyProvider>,
        key_id: impl Into<String>,
    ) -> SqlGatewayStoreBuilder {
        let (clock, targets) = (Arc::new(SystemClock::new()), WebhookTargets::default());
        SqlGatewayStoreBuilder { store: Self { meta, clock, ids: None, keys, key_id: key_id.into(), targets } }
    }

    fn next_id(&self, prefix: &str) -> Result<String> {
        Ok(prefixed_id(self.ids()?, prefix))
    }
}

/// Says that there is no record of this kind.
fn unknown(kind: &str, key: &str, value: &str) -> Error {
    Error::not_found(format!("{kind} not found ({key}='{value}')"))
}

/// Refuses one more row than a table may have.
async fn check_room(tx: &mut dyn Transaction, table: &str) -> Result<()> {
    let count: u64 = tx.query_one(&format!("SELECT COUNT(*) AS count FROM {table}"), &[]).await?.get("count")?;
    if count < LISTED_MAX as u64 {
        return Ok(());
    }
    Err(Error::resource_exhausted(format!("the gateway has {count} rows in {table}; delete some first")))
}

/// Whether the table has a row of this name, other than that of this id.
async fn is_taken(tx: &mut dyn Transaction, table: &str, name: &str, id: &str) -> Result<bool> {
    let sql = format!("SELECT id FROM {table} WHERE name = $1 AND id <> $2");
    Ok(tx.query_opt(&sql, params![name, id]).await?.is_some())
}

/// Refuses the id of an endpoint that does not exist.
async fn check_endpoint(tx: &mut dyn Transaction, id: &str) -> Result<()> {
    let found = tx.query_opt("SELECT id FROM gateway_endpoint WHERE id = $1", params![id]).await?;
    found.map(drop).ok_or_else(|| unknown("GatewayEndpoint", "endpoint_id", id))
}
