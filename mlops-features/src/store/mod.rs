//! The crate's front door: one place that knows the tables, the views and the online store, and hands out the parts.

mod builder;

pub use builder::{FeatureStoreBuilder, FeatureStoreSettings};

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use mlops_core::{BatchCheck, Clock, Error, EventBus, FeatureReader, FeatureRef, Result, Timestamp};

use crate::{
    definition::{EVENT_TIMESTAMP, FeatureService, FeatureView},
    ingest::Ingestor,
    materialize::Materializer,
    offline::DeltaOfflineStore,
    online::{OnlineReader, OnlineStore, OnlineWriter, ResolvedView},
    table::Table,
};

/// Tables, views, services and the online store of one home. Clones share everything.
#[derive(Debug, Clone)]
pub struct FeatureStore {
    tables: Arc<BTreeMap<Arc<str>, Table>>,
    views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
    services: Arc<BTreeMap<Arc<str>, FeatureService>>,
    ingestors: Arc<BTreeMap<Arc<str>, Ingestor>>,
    online: Arc<dyn OnlineStore>,
    clock: Arc<dyn Clock>,
    bus: Option<Arc<dyn EventBus>>,
    settings: FeatureStoreSettings,
}

/// What the builder has opened.
struct Parts {
    tables: BTreeMap<Arc<str>, Table>,
    views: BTreeMap<Arc<str>, Arc<ResolvedView>>,
    services: BTreeMap<Arc<str>, FeatureService>,
    checks: Vec<(Arc<str>, Arc<dyn BatchCheck>)>,
    online: Arc<dyn OnlineStore>,
    clock: Arc<dyn Clock>,
    bus: Option<Arc<dyn EventBus>>,
    settings: FeatureStoreSettings,
}

impl FeatureStore {
    /// Begins a store at `root`, a directory or a URL.
    pub fn builder(root: impl Into<String>) -> FeatureStoreBuilder {
        FeatureStoreBuilder::new(root.into())
    }

    fn new(parts: Parts) -> Self {
        let Parts { tables, views, services, checks, online, clock, bus, settings } = parts;
        let ingestor = |(name, table): (&Arc<str>, &Table)| {
            let checks = checks.iter().filter(|(of, _)| of == name).map(|(_, check)| Arc::clone(check)).collect();
            let times = timestamps(table, &views);
            let (clock, bus, table_settings) = (Arc::clone(&clock), bus.clone(), settings.table.clone());
            (Arc::clone(name), Ingestor::new(table.clone(), times, checks, clock, bus, table_settings))
        };
        let ingestors = Arc::new(tables.iter().map(ingestor).collect());
        let (tables, views, services) = (Arc::new(tables), Arc::new(views), Arc::new(services));
        Self { tables, views, services, ingestors, online, clock, bus, settings }
    }

    /// The gate of table `name`.
    ///
    /// # Errors
    /// `NotFound` when the store has no such table.
    pub fn ingestor(&self, name: &str) -> Result<Ingestor> {
        self.ingestors.get(name).cloned().ok_or_else(|| self.no_table(name))
    }

    /// Table `name`.
    ///
    /// # Errors
    /// `NotFound` when the store has no such table.
    pub fn table(&self, name: &str) -> Result<Table> {
        self.tables.get(name).cloned().ok_or_else(|| self.no_table(name))
    }

    fn no_table(&self, name: &str) -> Error {
        let names: Vec<_> = self.tables.keys().map(AsRef::as_ref).collect();
        Error::not_found(format!("feature store has no table \"{name}\"; it has {}", names.join(", ")))
    }

    /// Makes training sets.
    #[must_use]
    pub fn offline(&self) -> DeltaOfflineStore {
        DeltaOfflineStore::new(Arc::clone(&self.tables), Arc::clone(&self.views), self.settings.join.clone())
    }

    /// The online store.
    #[must_use]
    pub fn online(&self) -> Arc<dyn OnlineStore> {
        Arc::clone(&self.online)
    }

    /// Writes events straight into the online store.
    #[must_use]
    pub fn writer(&self) -> OnlineWriter {
        OnlineWriter::new(Arc::clone(&self.online), Arc::clone(&self.views))
    }

    /// Moves offline rows into the online store.
    #[must_use]
    pub fn materializer(&self) -> Materializer {
        Materializer {
            tables: Arc::clone(&self.tables),
            views: Arc::clone(&self.views),
            store: Arc::clone(&self.online),
            clock: Arc::clone(&self.clock),
            bus: self.bus.clone(),
            rows_per_write: self.settings.materialize_rows_per_write,
        }
    }

    /// Reads features for serving.
    #[must_use]
    pub fn reader(&self) -> OnlineReader {
        OnlineReader::new(Arc::clone(&self.online), Arc::clone(&self.views))
    }

    /// View `name`.
    ///
    /// # Errors
    /// `NotFound` when it is not defined.
    pub fn view(&self, name: &str) -> Result<&FeatureView> {
        let view = self.views.get(name).map(|resolved| &resolved.view);
        view.ok_or_else(|| Error::not_found(format!("feature view \"{name}\" is not defined")))
    }

    /// Service `name`.
    ///
    /// # Errors
    /// `NotFound` when it is not defined.
    pub fn service(&self, name: &str) -> Result<&FeatureService> {
        let service = self.services.get(name);
        service.ok_or_else(|| Error::not_found(format!("feature service \"{name}\" is not defined")))
    }
}

/// The columns that must not be null in a batch for `table`: the event times of its views, or the customary one.
fn timestamps(table: &Table, views: &BTreeMap<Arc<str>, Arc<ResolvedView>>) -> Vec<Arc<str>> {
    let of_table = views.values().filter(|view| view.view.table() == table.name());
    let mut names: Vec<Arc<str>> = of_table.map(|view| view.view.timestamp().into()).collect();
    if names.is_empty() && table.schema().field_with_name(EVENT_TIMESTAMP).is_ok() {
        names.push(EVENT_TIMESTAMP.into());
    }
    names.sort_unstable();
    names.dedup();
    names
}

#[async_trait]
impl FeatureReader for FeatureStore {
    async fn get_online(
        &self,
        features: &[FeatureRef],
        entities: &RecordBatch,
        as_of: Timestamp,
    ) -> Result<RecordBatch> {
        self.reader().get_online(features, entities, as_of).await
    }
}
