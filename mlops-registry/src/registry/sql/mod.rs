//! The registry in the metadata database, its packages in the blob store.
//!
//! Invariant: blobs are stored before the row that refers to them, and a governed change, its history and its
//! audit row are one transaction.

mod alias;
mod approval;
mod find;
mod garbage;
mod model;
mod package;
mod policy;
mod port;
mod record;
mod schema;
mod stage;
#[cfg(test)]
mod tests;
mod trash;
mod upload;
mod version;

use std::{collections::BTreeMap, sync::Arc};

use mlops_core::{
    Action, AuditEntry, Authorizer, Clock, Event, EventBus, Fact, ModelName, Resource, Result, SystemClock, Timestamp,
};
use mlops_store::{BlobStore, MetaStore, MetaStoreExt as _, Row, Transaction, TransactionalAudit, params};

use super::{
    PROMPT_TAG,
    change::{ChangeKind, ChangeSink, RegistryChange},
    record::Actor,
};
use crate::{access::EVERY, search::Operand};

/// A model registry over a [`MetaStore`] and a [`BlobStore`].
#[derive(Debug, Clone)]
pub struct SqlModelRegistry {
    meta: Arc<dyn MetaStore>,
    blobs: BlobStore,
    clock: Arc<dyn Clock>,
    bus: Option<Arc<dyn EventBus>>,
    audit: Option<Arc<dyn TransactionalAudit>>,
    changes: Option<Arc<dyn ChangeSink>>,
    authorizer: Option<Arc<dyn Authorizer>>,
}

/// Puts a [`SqlModelRegistry`] together.
#[derive(Debug, Clone)]
#[must_use]
pub struct SqlModelRegistryBuilder {
    registry: SqlModelRegistry,
}

impl SqlModelRegistryBuilder {
    /// Tells the time. Default: the clock of the operating system.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.registry.clock = clock;
        self
    }

    /// Announces new versions and alias moves. Default: nobody is told.
    pub fn with_bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.registry.bus = Some(bus);
        self
    }

    /// Records registrations, alias moves and deletions in the transaction that makes them; when the record cannot be
    /// written, they do not happen. Default: no record.
    pub fn with_audit(mut self, audit: Arc<dyn TransactionalAudit>) -> Self {
        self.registry.audit = Some(audit);
        self
    }

    /// Tells of changes in the transaction that makes them; when that fails, they do not happen. Default: nobody is told.
    pub fn with_changes(mut self, changes: Arc<dyn ChangeSink>) -> Self {
        self.registry.changes = Some(changes);
        self
    }

    /// Asks before every write. Default: everybody may do everything.
    pub fn with_authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.registry.authorizer = Some(authorizer);
        self
    }

    /// Brings the tables up to date.
    ///
    /// # Errors
    /// `FailedPrecondition` when the tables are of a newer version, `Unavailable` when the database cannot be reached.
    pub async fn build(self) -> Result<SqlModelRegistry> {
        self.registry.meta.migrate(&schema::MIGRATIONS).await?;
        Ok(self.registry)
    }
}

impl SqlModelRegistry {
    /// Begins a registry with its rows in `meta` and its packages in `blobs`.
    pub fn builder(meta: Arc<dyn MetaStore>, blobs: BlobStore) -> SqlModelRegistryBuilder {
        let clock = Arc::new(SystemClock::new());
        SqlModelRegistryBuilder {
            registry: Self { meta, blobs, clock, bus: None, audit: None, changes: None, authorizer: None },
        }
    }

    /// Now, in whole milliseconds.
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now().as_millis())
    }

    async fn authorize(&self, actor: &Actor, action: Action, model: &ModelName) -> Result<()> {
        self.authorize_on(actor, action, &resource(model)).await
    }

    async fn authorize_on(&self, actor: &Actor, action: Action, resource: &Resource) -> Result<()> {
        match &self.authorizer {
            Some(authorizer) => authorizer.authorize(&actor.0, action, resource).await,
            None => Ok(()),
        }
    }

    /// Writes the audit row of an action into its transaction.
    async fn record(
        &self,
        tx: &mut dyn Transaction,
        (actor, action, model): (&Actor, Action, &ModelName),
        details: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<()> {
        self.record_on(tx, (actor, action, resource(model)), details).await
    }

    async fn record_on(
        &self,
        tx: &mut dyn Transaction,
        (actor, action, resource): (&Actor, Action, Resource),
        details: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<()> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let entry = AuditEntry {
            at: self.clock.now(),
            principal: actor.0.clone(),
            action,
            resource,
            details: details.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        };
        audit.append_in(tx, &entry).await
    }

    /// Tells the sink of a change in its transaction.
    async fn note(&self, tx: &mut dyn Transaction, model: &ModelName, kind: ChangeKind) -> Result<()> {
        let Some(changes) = &self.changes else { return Ok(()) };
        let sql = "SELECT value FROM registry_model_tag WHERE model = $1 AND key = $2";
        let tag = tx.query(sql, params![model.as_str(), PROMPT_TAG]).await?;
        let tag: Option<String> = tag.first().map(|row| row.get("value")).transpose()?;
        let prompt = tag.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        changes.append_in(tx, &RegistryChange { model: model.clone(), prompt, kind }).await
    }

    /// Tells the bus. The fact is durable already, so an error of a subscriber is logged, not returned.
    async fn announce(&self, fact: Fact) {
        let Some(bus) = &self.bus else { return };
        if let Err(error) = bus.publish(Event::new(self.clock.now(), fact)).await {
            tracing::warn!(error = %error.chain(), "a subscriber failed on a registry event");
        }
    }
}

fn resource(model: &ModelName) -> Resource {
    Resource::new("model", model.as_str())
}

/// What an action on models of any name is done to.
fn all_models() -> Resource {
    Resource::new("model", EVERY)
}

/// Tags from rows with columns `key` and `value`.
fn read_tags(rows: &[Row]) -> Result<BTreeMap<String, String>> {
    rows.iter().map(|row| Ok((row.get("key")?, row.get("value")?))).collect()
}

/// A tag as searches see it.
fn tag(tags: &BTreeMap<String, String>, key: &str) -> Operand {
    match tags.get(key) {
        Some(value) => Operand::Text(value.clone()),
        None if key == PROMPT_TAG => Operand::Text("false".to_owned()),
        None => Operand::Missing,
    }
}
