//! Webhooks in the metadata database, and the outbox of their messages.
//!
//! Invariant: a message is in the outbox exactly when the change it tells of is in the registry, which has to be in the
//! same database. The outbox of one webhook is bounded; what does not fit is counted in the log and lost.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{Clock, Error, KeyProvider, Result, SystemClock, Timestamp};
use mlops_store::{MetaStore, MetaStoreExt as _, Migration, Migrations, Row, Transaction, TransactionExt as _, params};

use super::{
    CreateWebhook, Delivery, Webhook, WebhookStore, WebhookTargets, WebhookUpdate, event,
    secret::{Kept, Keys},
};
use crate::{
    id_source::IdSource,
    registry::{ChangeSink, RegistryChange},
    retry::on_conflict,
    rows::{from_json, to_json},
    search::{Page, PageRequest, cut},
    sql_store::sql_store,
};

/// Most webhooks.
const WEBHOOKS_MAX: u64 = 1_000;
/// Most messages that wait for one webhook.
const WAITING_MAX: u64 = 10_000;

const MIGRATIONS: Migrations = Migrations {
    namespace: "webhook",
    steps: &[
        Migration {
            version: 1,
            name: "webhooks and their outbox",
            sql: "CREATE TABLE webhook_hook (
    id TEXT PRIMARY KEY,
    created BIGINT NOT NULL,
    content TEXT NOT NULL,
    secret {blob},
    sealed BIGINT NOT NULL
);
CREATE TABLE webhook_delivery (
    seq {auto_id},
    id TEXT NOT NULL UNIQUE,
    hook TEXT NOT NULL,
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    due BIGINT NOT NULL,
    attempts BIGINT NOT NULL
);
CREATE INDEX webhook_delivery_by_due ON webhook_delivery (due, seq);
CREATE INDEX webhook_delivery_by_hook ON webhook_delivery (hook);
",
        },
        Migration {
            version: 2,
            name: "the key of a secret",
            sql: "ALTER TABLE webhook_hook ADD COLUMN key_id TEXT;
",
        },
    ],
};

/// A store of webhooks over a [`MetaStore`]. As a [`ChangeSink`] of a registry in the same database it writes the
/// messages.
///
/// ```
/// use std::sync::Arc;
/// use mlops_registry::{SqlModelRegistry, webhooks::SqlWebhookStore};
/// use mlops_store::{BlobStore, SqliteMetaStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let meta = Arc::new(SqliteMetaStore::in_memory().await?);
/// let webhooks = Arc::new(SqlWebhookStore::builder(meta.clone()).build().await?);
/// let registry = SqlModelRegistry::builder(meta, BlobStore::in_memory()).with_changes(webhooks).build().await?;
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct SqlWebhookStore {
    pub(super) meta: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    ids: Option<Arc<dyn IdSource>>,
    pub(super) keys: Option<Keys>,
    targets: WebhookTargets,
}

/// Puts a [`SqlWebhookStore`] together.
#[derive(Debug, Clone)]
#[must_use]
pub struct SqlWebhookStoreBuilder {
    store: SqlWebhookStore,
}

sql_store!(SqlWebhookStore, SqlWebhookStoreBuilder, "Gives ids. Default: random ones, seeded by the operating system.");

impl SqlWebhookStoreBuilder {
    /// Seals secrets under a key before they are stored. Default: they are stored as they are.
    pub fn with_keys(mut self, keys: Arc<dyn KeyProvider>, key_id: impl Into<String>) -> Self {
        self.store.keys = Some(Keys::new(keys, key_id.into()));
        self
    }

    /// The key of secrets that are sealed and whose rows name no key, as the first version of the table had them. Default: that of
    /// [`SqlWebhookStoreBuilder::with_keys`]; to be called after it.
    pub fn with_unnamed_key(mut self, key_id: impl Into<String>) -> Self {
        if let Some(keys) = &mut self.store.keys {
            keys.unnamed = key_id.into();
        }
        self
    }

    /// Which targets may be registered. Default: `https` to public addresses.
    pub fn with_targets(mut self, targets: WebhookTargets) -> Self {
        self.store.targets = targets;
        self
    }

    /// Brings the tables up to date.
    ///
    /// # Errors
    /// `FailedPrecondition` when the tables are of a newer version, `Unavailable` when the database cannot be reached.
    pub async fn build(self) -> Result<SqlWebhookStore> {
        self.store.opened(&MIGRATIONS).await
    }
}

pub(super) fn unknown(id: &str) -> Error {
    Error::not_found(format!("Webhook with ID {id} not found.")).with("webhook", id)
}

impl SqlWebhookStore {
    /// Begins a store with its rows in `meta`.
    pub fn builder(meta: Arc<dyn MetaStore>) -> SqlWebhookStoreBuilder {
        let (clock, targets) = (Arc::new(SystemClock::new()), WebhookTargets::default());
        SqlWebhookStoreBuilder { store: Self { meta, clock, ids: None, keys: None, targets } }
    }

    /// A random id in the form of a UUID.
    fn next_id(&self) -> Result<String> {
        let id = self.ids()?.next_id();
        let part = |shift: u32, bits: u32| (id >> shift) & ((1_u128 << bits) - 1);
        Ok(format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 32),
            part(80, 16),
            part(64, 16),
            part(48, 16),
            part(0, 48)
        ))
    }

    async fn all(&self) -> Result<Vec<Webhook>> {
        let rows = self.meta.query("SELECT content FROM webhook_hook ORDER BY created DESC, id", &[]).await?;
        rows.iter().map(|row| from_json("webhook", row)).collect()
    }

    async fn read(&self, id: &str) -> Result<(Webhook, Row)> {
        let row = self.meta.query_opt("SELECT * FROM webhook_hook WHERE id = $1", params![id]).await?;
        let row = row.ok_or_else(|| unknown(id))?;
        Ok((from_json("webhook", &row)?, row))
    }
}

#[async_trait]
impl WebhookStore for SqlWebhookStore {
    async fn create(&self, create: CreateWebhook) -> Result<Webhook> {
        create.check()?;
        self.targets.check(&create.url)?;
        let Kept { secret, sealed, key_id } = self.seal(create.secret.as_deref()).await?;
        let now = self.now();
        let webhook = Webhook {
            id: self.next_id()?,
            name: create.name,
            description: create.description,
            url: create.url,
            events: create.events,
            active: create.active,
            created: now,
            updated: now,
        };
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let count: u64 = tx.query_one("SELECT COUNT(*) AS count FROM webhook_hook", &[]).await?.get("count")?;
            if count >= WEBHOOKS_MAX {
                return Err(Error::resource_exhausted(format!("there are {count} webhooks already; delete some")));
            }
            let sql = "INSERT INTO webhook_hook (id, created, content, secret, sealed, key_id)
                VALUES ($1, $2, $3, $4, $5, $6)";
            let content = to_json("webhook", &webhook)?;
            tx.execute(sql, params![&webhook.id, now, content, secret.clone(), sealed, key_id.clone()]).await?;
            tx.commit().await
        })?;
        Ok(webhook)
    }

    async fn webhook(&self, id: &str) -> Result<Webhook> {
        Ok(self.read(id).await?.0)
    }

    async fn list(&self, page: &PageRequest) -> Result<Page<Webhook>> {
        cut(self.all().await?, page, "webhooks")
    }

    async fn update(&self, id: &str, update: WebhookUpdate) -> Result<Webhook> {
        if let Some(url) = &update.url {
            self.targets.check(url)?;
        }
        let changed = self.read(id).await?.0.updated(&update, self.now())?;
        let content = to_json("webhook", &changed)?;
        let done = match &update.secret {
            None => {
                self.meta.execute("UPDATE webhook_hook SET content = $1 WHERE id = $2", params![content, id]).await?
            }
            Some(secret) => {
                let Kept { secret, sealed, key_id } = self.seal(Some(secret)).await?;
                let sql = "UPDATE webhook_hook SET content = $1, secret = $2, sealed = $3, key_id = $4 WHERE id = $5";
                self.meta.execute(sql, params![content, secret, sealed, key_id, id]).await?
            }
        };
        if done == 0 { Err(unknown(id)) } else { Ok(changed) }
    }

    async fn delete(&self, id: &str) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            tx.execute("DELETE FROM webhook_delivery WHERE hook = $1", params![id]).await?;
            if tx.execute("DELETE FROM webhook_hook WHERE id = $1", params![id]).await? == 0 {
                return Err(unknown(id));
            }
            tx.commit().await
        })
    }

    async fn secret(&self, id: &str) -> Result<Option<String>> {
        self.unseal(&self.read(id).await?.1).await
    }

    async fn claim(&self, now: Timestamp, lease: Duration, wait_max: Duration, max: usize) -> Result<Vec<Delivery>> {
        let mut claimed = Vec::new();
        on_conflict!(async {
            claimed.clear();
            let mut tx = self.meta.begin().await?;
            // By time, so that messages of a receiver that fails again and again do not hold up the others.
            let sql = "SELECT * FROM webhook_delivery WHERE due <= $1 OR due > $2
                ORDER BY CASE WHEN due > $2 THEN 0 ELSE due END, seq LIMIT $3";
            for row in tx.query(sql, params![now, now + wait_max, max as u64]).await? {
                let hook: String = row.get("hook")?;
                let found = tx.query_opt("SELECT content FROM webhook_hook WHERE id = $1", params![&hook]).await?;
                let webhook: Webhook = from_json("webhook", &found.ok_or_else(|| unknown(&hook))?)?;
                let sql = "UPDATE webhook_delivery SET due = $1, attempts = attempts + 1 WHERE id = $2";
                tx.execute(sql, params![now + lease, &row.get::<String>("id")?]).await?;
                claimed.push(read_delivery(&row, webhook)?);
            }
            tx.commit().await
        })?;
        Ok(claimed)
    }

    async fn settle(&self, delivery: &str) -> Result<()> {
        on_conflict!(self.meta.execute("DELETE FROM webhook_delivery WHERE id = $1", params![delivery])).map(drop)
    }

    async fn defer(&self, delivery: &str, due: Timestamp) -> Result<()> {
        let sql = "UPDATE webhook_delivery SET due = $1 WHERE id = $2";
        on_conflict!(self.meta.execute(sql, params![due, delivery])).map(drop)
    }
}

fn read_delivery(row: &Row, webhook: Webhook) -> Result<Delivery> {
    let event: String = row.get("event")?;
    let (entity, action) = event.split_once('.').unwrap_or((&event, ""));
    Ok(Delivery {
        id: row.get("id")?,
        event: super::WebhookEvent::new(entity, action)?,
        body: row.get("body")?,
        attempts: row.get("attempts")?,
        webhook,
    })
}

#[async_trait]
impl ChangeSink for SqlWebhookStore {
    async fn append_in(&self, tx: &mut dyn Transaction, change: &RegistryChange) -> Result<()> {
        let Some((event, data)) = event::of(change) else { return Ok(()) };
        for row in tx.query("SELECT content FROM webhook_hook ORDER BY created, id", &[]).await? {
            let webhook: Webhook = from_json("webhook", &row)?;
            if !webhook.active || !webhook.events.contains(&event) {
                continue;
            }
            let sql = "SELECT COUNT(*) AS count FROM webhook_delivery WHERE hook = $1";
            let waiting: u64 = tx.query_one(sql, params![&webhook.id]).await?.get("count")?;
            if waiting >= WAITING_MAX {
                tracing::warn!(webhook = %webhook.id, %event, waiting, "the outbox of a webhook is full, an event is lost");
                continue;
            }
            let sql =
                "INSERT INTO webhook_delivery (id, hook, event, body, due, attempts) VALUES ($1, $2, $3, $4, $5, 0)";
            let (now, id) = (self.now(), self.next_id()?);
            let values = params![id, &webhook.id, event.to_string(), event.body(now, &data), now];
            tx.execute(sql, values).await?;
        }
        Ok(())
    }
}
