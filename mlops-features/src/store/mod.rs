//! The crate's front door: one place that knows the tables, the views and the online store, and hands out the parts.

mod builder;
mod inspect;

pub use builder::{FeatureStoreBuilder, FeatureStoreSettings};
pub use inspect::ViewInspection;

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::RecordBatch;
#[cfg(feature = "flight")]
use arrow_schema::Field;
use async_trait::async_trait;
use futures::TryStreamExt as _;
use mlops_core::{BatchCheck, Clock, Error, EventBus, FeatureReader, FeatureRef, Meter, Result, Timestamp};

use crate::{
    definition::{AppliedDefinitions, EVENT_TIMESTAMP, FeatureService, FeatureView, LabelView, OnDemandView, Source},
    ingest::Ingestor,
    lineage::{Lineage, TracedStore},
    materialize::{MaterializeLimits, Materializer},
    metrics::Told,
    offline::{DeltaOfflineStore, LabelViews},
    on_demand::{OnDemandOfflineStore, OnDemandViews},
    online::{OnlineReader, OnlineStore, OnlineWriter, ReadPlan, ResolvedView},
    source::{Reach, SourceIngestor, SourceSettings},
    stream::{StreamIngestor, StreamSettings, StreamSource},
    table::{DataRef, DataVersion, Scan, Table},
    vector::{IndexedStore, VectorIndex, VectorQuery},
};

/// Tables, views, services and the online store of one home. Clones share everything.
#[derive(Debug, Clone)]
pub struct FeatureStore {
    tables: Arc<BTreeMap<Arc<str>, Table>>,
    views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
    on_demand: Arc<OnDemandViews>,
    labels: Arc<LabelViews>,
    services: Arc<BTreeMap<Arc<str>, FeatureService>>,
    sources: Arc<BTreeMap<Arc<str>, Source>>,
    reach: Arc<Reach>,
    applied: Arc<AppliedDefinitions>,
    ingestors: Arc<BTreeMap<Arc<str>, Ingestor>>,
    plans: Arc<BTreeMap<Arc<str>, ReadPlan>>,
    online: Arc<IndexedStore>,
    clock: Arc<dyn Clock>,
    bus: Option<Arc<dyn EventBus>>,
    meter: Arc<dyn Meter>,
    settings: FeatureStoreSettings,
}

/// What the builder has opened.
struct Parts {
    tables: BTreeMap<Arc<str>, Table>,
    views: BTreeMap<Arc<str>, Arc<ResolvedView>>,
    on_demand: OnDemandViews,
    labels: LabelViews,
    services: BTreeMap<Arc<str>, FeatureService>,
    sources: BTreeMap<Arc<str>, Source>,
    reach: Reach,
    applied: AppliedDefinitions,
    checks: Vec<(Arc<str>, Arc<dyn BatchCheck>)>,
    online: Arc<dyn OnlineStore>,
    clock: Arc<dyn Clock>,
    bus: Option<Arc<dyn EventBus>>,
    meter: Arc<dyn Meter>,
    settings: FeatureStoreSettings,
}

impl FeatureStore {
    /// Begins a store at `root`, a directory or a URL.
    pub fn builder(root: impl Into<String>) -> FeatureStoreBuilder {
        FeatureStoreBuilder::new(root.into())
    }

    fn new(parts: Parts) -> Result<Self> {
        let Parts { tables, views, on_demand, labels, services, sources, mut reach, applied, .. } = parts;
        let Parts { checks, online, clock, bus, meter, settings, .. } = parts;
        let ingestor = |(name, table): (&Arc<str>, &Table)| {
            let checks = checks.iter().filter(|(of, _)| of == name).map(|(_, check)| Arc::clone(check)).collect();
            let times = timestamps(table, &views, &labels, sources.get(name));
            let told = Told { clock: Arc::clone(&clock), bus: bus.clone(), meter: Arc::clone(&meter) };
            (Arc::clone(name), Ingestor::new(table.clone(), times, checks, told, settings.table.clone()))
        };
        let ingestors = Arc::new(tables.iter().map(ingestor).collect());
        let plan = |(name, service): (&Arc<str>, &FeatureService)| {
            Ok((Arc::clone(name), ReadPlan::new(&views, &on_demand, service.features())?))
        };
        let plans = Arc::new(services.iter().map(plan).collect::<Result<_>>()?);
        reach.tables.clone_from(&tables);
        let (tables, views, services) = (Arc::new(tables), Arc::new(views), Arc::new(services));
        let (on_demand, sources, reach) = (Arc::new(on_demand), Arc::new(sources), Arc::new(reach));
        let (labels, applied) = (Arc::new(labels), Arc::new(applied));
        let online = Arc::new(IndexedStore::new(online, settings.vector_bytes_max));
        Ok(Self {
            tables,
            views,
            on_demand,
            labels,
            services,
            sources,
            reach,
            applied,
            ingestors,
            plans,
            online,
            clock,
            bus,
            meter,
            settings,
        })
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

    /// What takes source `name` into its table, the table of the same name.
    ///
    /// # Errors
    /// `NotFound` when the store has no such source.
    pub fn source(&self, name: &str) -> Result<SourceIngestor> {
        self.source_with(name, SourceSettings::default())
    }

    /// [`FeatureStore::source`] within other bounds.
    ///
    /// # Errors
    /// As there.
    pub fn source_with(&self, name: &str, settings: SourceSettings) -> Result<SourceIngestor> {
        let unknown = || {
            let names: Vec<_> = self.sources.keys().map(AsRef::as_ref).collect();
            Error::not_found(format!("feature store has no source \"{name}\"; it has {}", names.join(", ")))
        };
        let source = self.sources.get(name).ok_or_else(unknown)?.clone();
        Ok(SourceIngestor::new(source, self.ingestor(name)?, Arc::clone(&self.reach), settings))
    }

    /// What fills `table`, if anything does.
    pub(crate) fn source_of(&self, table: &str) -> Option<&Source> {
        self.sources.get(table)
    }

    /// Makes training sets.
    #[must_use]
    pub fn offline(&self) -> OnDemandOfflineStore<DeltaOfflineStore> {
        let (tables, views, labels) = (Arc::clone(&self.tables), Arc::clone(&self.views), Arc::clone(&self.labels));
        let stored = DeltaOfflineStore::new(tables, views, labels, self.settings.join.clone());
        OnDemandOfflineStore::new(stored, Arc::clone(&self.on_demand))
    }

    /// The online store.
    #[must_use]
    pub fn online(&self) -> Arc<dyn OnlineStore> {
        let online: Arc<IndexedStore> = Arc::clone(&self.online);
        online
    }

    /// The entities whose online vectors of `feature`, a column of lists of floats, are nearest to those of `query`, as
    /// [`VectorIndex::search`] gives them. The first search reads all of the view's records; what this store writes
    /// later is found at once.
    ///
    /// # Errors
    /// `NotFound` for an unknown view or feature, `InvalidArgument` for a feature that is no vector and for a query of
    /// another length than its vectors have, `ResourceExhausted` for more vectors than
    /// [`FeatureStoreSettings::vector_bytes_max`] allows, and the errors of the query's filter and of
    /// [`OnlineStore::scan`].
    pub async fn nearest(&self, feature: &FeatureRef, query: &VectorQuery, as_of: Timestamp) -> Result<RecordBatch> {
        let index = self.online.index(feature, self.vector_view(feature)?).await?;
        index.search(query, as_of).await
    }

    /// Lets the next search for `feature` read all records again: where others write into the same online store, what
    /// they wrote is found only then.
    pub async fn forget_vectors(&self, feature: &FeatureRef) {
        if let Ok(view) = self.vector_view(feature) {
            self.online.forget(feature, view).await;
        }
    }

    /// An index of the vectors of `feature` in the offline table, of the rows that `scan` asks for. Later rows are added
    /// by [`VectorIndex::push`].
    ///
    /// # Errors
    /// As [`FeatureStore::nearest`] and [`Table::scan`].
    pub async fn vector_index(&self, feature: &FeatureRef, scan: Scan) -> Result<VectorIndex> {
        let view = self.vector_view(feature)?;
        let index = VectorIndex::new(feature, view, self.settings.vector_bytes_max)?;
        let mut rows = self.table(view.view.table())?.scan(scan.with_columns(view.needed_columns())).await?;
        while let Some(batch) = rows.try_next().await? {
            let index = index.clone();
            let work = tokio::task::spawn_blocking(move || index.push(&batch));
            work.await.map_err(|_| Error::internal("indexing vectors panicked"))??;
        }
        Ok(index)
    }

    fn vector_view(&self, feature: &FeatureRef) -> Result<&Arc<ResolvedView>> {
        let unknown = || Error::not_found(format!("feature view \"{}\" is not defined", feature.view_key()));
        self.views.get(feature.view_key()).ok_or_else(unknown)
    }

    /// Writes events straight into the online store.
    #[must_use]
    pub fn writer(&self) -> OnlineWriter {
        OnlineWriter::new(self.online(), Arc::clone(&self.views))
    }

    /// Moves offline rows into the online store.
    #[must_use]
    pub fn materializer(&self) -> Materializer {
        let told = Told { clock: Arc::clone(&self.clock), bus: self.bus.clone(), meter: Arc::clone(&self.meter) };
        let limits = MaterializeLimits {
            rows_per_write: self.settings.materialize_rows_per_write,
            rows_per_chunk: self.settings.materialize_rows_per_chunk,
        };
        let (tables, views) = (Arc::clone(&self.tables), Arc::clone(&self.views));
        Materializer::new(tables, views, self.online(), told, limits)
    }

    /// Takes stream `source` into table `table`, by the table's checks.
    ///
    /// # Errors
    /// `NotFound` when the store has no such table, `InvalidArgument` for a stream name that is not valid.
    pub fn stream_ingestor(
        &self,
        table: &str,
        source: Arc<dyn StreamSource>,
        settings: StreamSettings,
    ) -> Result<StreamIngestor> {
        StreamIngestor::new(self.ingestor(table)?, source, settings)
    }

    /// The data that `data` names now: a version of a table and the digest of what it contains.
    ///
    /// # Errors
    /// `NotFound` when the store has no such table or the table no such version.
    pub async fn resolve(&self, data: &DataRef) -> Result<DataVersion> {
        self.table(data.table())?.resolve(data.at()).await
    }

    /// The definitions that were in force when the store was opened, with all their versions.
    #[must_use]
    pub fn definitions(&self) -> &AppliedDefinitions {
        &self.applied
    }

    /// Reads features for serving.
    #[must_use]
    pub fn reader(&self) -> OnlineReader {
        OnlineReader::new(self.online(), Arc::clone(&self.views), Arc::clone(&self.on_demand))
    }

    /// The same store with lineage of what is appended, read for training and materialized.
    #[must_use]
    pub fn traced(&self, lineage: Lineage) -> TracedStore {
        TracedStore::new(self.clone(), lineage)
    }

    /// The compiled question of service `name`, for [`OnlineReader::read`].
    ///
    /// # Errors
    /// `NotFound` when it is not defined.
    pub fn service_plan(&self, name: &str) -> Result<&ReadPlan> {
        let plan = self.plans.get(name);
        plan.ok_or_else(|| Error::not_found(format!("feature service \"{name}\" is not defined")))
    }

    /// What time it is, by the clock of the store.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// The current version of every view, by name.
    pub fn views(&self) -> impl Iterator<Item = &FeatureView> {
        self.current().map(|resolved| &resolved.view)
    }

    fn current(&self) -> impl Iterator<Item = &Arc<ResolvedView>> {
        self.views.iter().filter(|(key, _)| !key.contains('@')).map(|(_, view)| view)
    }

    /// View `name`, or a version of it as `name@v2`.
    ///
    /// # Errors
    /// `NotFound` when it is not defined.
    pub fn view(&self, name: &str) -> Result<&FeatureView> {
        self.resolved(name).map(|resolved| &resolved.view)
    }

    /// On-demand view `name`, or a version of it as `name@v2`.
    ///
    /// # Errors
    /// `NotFound` when it is not defined.
    pub fn on_demand_view(&self, name: &str) -> Result<&OnDemandView> {
        let unknown = || Error::not_found(format!("on-demand view \"{name}\" is not defined"));
        self.on_demand.get(name).map(|resolved| &resolved.view).ok_or_else(unknown)
    }

    /// Label view `name`, or a version of it as `name@v2`.
    ///
    /// # Errors
    /// `NotFound` when it is not defined.
    pub fn label_view(&self, name: &str) -> Result<&LabelView> {
        let unknown = || Error::not_found(format!("label view \"{name}\" is not defined"));
        self.labels.get(name).map(|resolved| &resolved.view).ok_or_else(unknown)
    }

    /// The join keys of label view `name` with their types.
    #[cfg(feature = "flight")]
    pub(crate) fn label_keys(&self, name: &str) -> Result<Vec<Field>> {
        let unknown = || Error::not_found(format!("label view \"{name}\" is not defined"));
        let outcomes = &self.labels.get(name).ok_or_else(unknown)?.outcomes;
        let keys = outcomes.view.entity().join_keys().iter().zip(&outcomes.key_types);
        Ok(keys.map(|(name, data_type)| Field::new(name.as_ref(), data_type.clone(), true)).collect())
    }

    pub(crate) fn resolved(&self, name: &str) -> Result<&Arc<ResolvedView>> {
        self.views.get(name).ok_or_else(|| Error::not_found(format!("feature view \"{name}\" is not defined")))
    }

    /// The views over `table`.
    #[cfg(feature = "feast")]
    pub(crate) fn resolved_of(&self, table: &str) -> impl Iterator<Item = &Arc<ResolvedView>> {
        self.current().filter(move |resolved| resolved.view.table() == table)
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

/// The columns that must not be null in a batch for `table`: the event times of its views and its source, or the
/// customary one.
fn timestamps(
    table: &Table,
    views: &BTreeMap<Arc<str>, Arc<ResolvedView>>,
    labels: &LabelViews,
    source: Option<&Source>,
) -> Vec<Arc<str>> {
    let views = views.iter().map(|(key, view)| (key, &view.view));
    let labels = labels.iter().map(|(key, labels)| (key, labels.view.outcomes()));
    let current = views.chain(labels).filter(|(key, _)| !key.contains('@')).map(|(_, view)| view);
    let of_table = current.filter(|view| view.table() == table.name());
    let mut names: Vec<Arc<str>> = of_table.map(|view| view.timestamp().into()).collect();
    names.extend(source.map(|source| Arc::from(source.timestamp())));
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
