//! A feature store whose reads and writes leave lineage: the same verbs, each between two events.

mod source;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use mlops_core::{Digest, FeatureRef, Result, Timestamp};

use super::{
    columns::{ColumnInput, ColumnLineage, Transformation},
    recorder::{DatasetFacts, Lineage, LineageRun},
};
use crate::{
    definition::{FeatureService, FeatureView, LabelView, OnDemandView},
    ingest::{IngestReceipt, Ingestor},
    materialize::{FollowReceipt, MaterializeReceipt, Materializer},
    offline::{DeltaOfflineStore, HistoricalOptions, OfflineStore, TrainingSet},
    on_demand::OnDemandOfflineStore,
    store::FeatureStore,
    table::Table,
};

/// A feature store that hands out its parts wrapped.
#[derive(Debug, Clone)]
pub struct TracedStore {
    store: FeatureStore,
    lineage: Lineage,
}

/// A part of a feature store whose work leaves lineage.
#[derive(Debug, Clone)]
pub struct Traced<T> {
    inner: T,
    store: FeatureStore,
    lineage: Lineage,
}

/// A view and the key that it is read by.
type Named<'a, V> = (&'a str, &'a V);

impl TracedStore {
    pub(crate) fn new(store: FeatureStore, lineage: Lineage) -> Self {
        Self { store, lineage }
    }

    fn wrap<T>(&self, inner: T) -> Traced<T> {
        Traced { inner, store: self.store.clone(), lineage: self.lineage.clone() }
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &FeatureStore {
        &self.store
    }

    /// The gate of table `name`.
    ///
    /// # Errors
    /// `NotFound` when the store has no such table.
    pub fn ingestor(&self, name: &str) -> Result<Traced<Ingestor>> {
        Ok(self.wrap(self.store.ingestor(name)?))
    }

    /// Makes training sets.
    #[must_use]
    pub fn offline(&self) -> Traced<OnDemandOfflineStore<DeltaOfflineStore>> {
        self.wrap(self.store.offline())
    }

    /// Moves offline rows into the online store.
    #[must_use]
    pub fn materializer(&self) -> Traced<Materializer> {
        self.wrap(self.store.materializer())
    }
}

impl<T> Traced<T> {
    /// What is wrapped.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// The view as a dataset of its own, whose columns come from its table's. A version that is asked for by its number is
    /// another dataset than the current one, because its columns are made otherwise.
    fn view_facts(&self, key: &str, view: &FeatureView) -> DatasetFacts {
        self.facts_over_table(view_dataset(&self.lineage, key), view)
    }

    fn facts_over_table(&self, facts: DatasetFacts, view: &FeatureView) -> DatasetFacts {
        match self.store.table(view.table()) {
            Ok(table) => {
                let columns = view_columns(view, &table_facts(&table));
                facts.with_schema(view_schema(view, table.schema())).with_columns(columns)
            }
            Err(_) => facts,
        }
    }
}

/// The end of a run: `Complete` or `Fail`, by the outcome.
async fn end<R>(run: LineageRun, outcome: &Result<R>, datasets: (Vec<DatasetFacts>, Vec<DatasetFacts>)) {
    match outcome {
        Ok(_) => run.complete(datasets.0, datasets.1).await,
        Err(error) => run.fail(error, datasets.0, datasets.1).await,
    }
}

impl Traced<Ingestor> {
    /// As [`Ingestor::append`].
    ///
    /// # Errors
    /// As there.
    pub async fn append(&self, batch_id: &str, batch: &RecordBatch) -> Result<IngestReceipt> {
        let table = self.inner.table();
        let source = DatasetFacts::new(self.lineage.namespace(), format!("batch/{}", table.name()));
        let source = source.with_schema(batch.schema()).with_version(batch_id);
        let mut columns = ColumnLineage::default();
        for field in batch.schema_ref().fields() {
            columns.add(field.name(), input(&source, field.name(), Transformation::Identity, ""));
        }
        let target = table_facts(table);
        let job = format!("ingest.{}", table.name());
        let run = self.lineage.begin(job, "INGEST", vec![source.clone()], vec![target.clone()]).await;
        let outcome = self.inner.append(batch_id, batch).await;
        let mut source = source.with_content(batch.clone());
        let mut target = target.with_columns(columns.clone());
        if let Ok(receipt) = &outcome {
            if !receipt.accepted() {
                source = source.with_failures(receipt.failures.clone());
                if let Some(quarantine) = self.inner.quarantine_table() {
                    target = table_facts(quarantine).with_columns(columns);
                }
            }
            target = target.with_version(receipt.version).with_rows(receipt.rows);
        }
        end(run, &outcome, (vec![source], vec![target])).await;
        outcome
    }
}

#[async_trait]
impl<T: OfflineStore> OfflineStore for Traced<T> {
    async fn get_historical_opts(
        &self,
        spine: &RecordBatch,
        service: &FeatureService,
        options: &HistoricalOptions,
    ) -> Result<TrainingSet> {
        let namespace = self.lineage.namespace();
        let source = DatasetFacts::new(namespace, format!("spine/{}", service.name())).with_schema(spine.schema());
        let named = self.views(service);
        let labels = self.labels(service);
        let views = named.iter().map(|(_, view)| *view).chain(labels.iter().map(|(_, view)| view.outcomes()));
        let views: Vec<&FeatureView> = views.collect();
        let target = DatasetFacts::new(namespace, format!("training_set/{}", service.name()));
        let mut view_facts: Vec<_> = named.iter().map(|(key, view)| self.view_facts(key, view)).collect();
        view_facts.extend(labels.iter().map(|(key, view)| self.label_facts(key, view)));
        view_facts.extend(self.on_demand(service).into_iter().map(|view| self.on_demand_facts(view, &source)));
        let inputs = |tables: Vec<DatasetFacts>, spine: DatasetFacts| {
            [spine].into_iter().chain(tables).chain(view_facts.iter().cloned()).collect::<Vec<_>>()
        };
        let job = format!("training_set.{}", service.name());
        let begun = inputs(self.tables(&views, None), source.clone());
        let run = self.lineage.begin(job, "TRAINING_SET", begun, vec![target.clone()]).await;
        let outcome = self.inner.get_historical_opts(spine, service, options).await;
        let mut target =
            target.with_columns(self.training_columns(spine, service, options, &source, (&named, &labels)));
        if let Ok(set) = &outcome {
            let bytes = set.batch.get_array_memory_size() as u64;
            target = target.with_schema(set.batch.schema()).with_rows(set.batch.num_rows() as u64).with_bytes(bytes);
            target = target.with_version(version_of(set));
        }
        let tables = self.tables(&views, outcome.as_ref().ok());
        end(run, &outcome, (inputs(tables, source.with_content(spine.clone())), vec![target])).await;
        outcome
    }
}

impl<T> Traced<T> {
    /// The on-demand views of `service`, each once.
    fn on_demand(&self, service: &FeatureService) -> Vec<&OnDemandView> {
        let mut views: Vec<&OnDemandView> = Vec::new();
        let keys = service.features().iter().map(FeatureRef::view_key);
        for view in keys.filter_map(|key| self.store.on_demand_view(key).ok()) {
            if !views.iter().any(|known| std::ptr::eq(*known, view)) {
                views.push(view);
            }
        }
        views
    }

    /// An on-demand view as a dataset of its own. What its code reads of its inputs is not known, so every output is made
    /// of all of them.
    fn on_demand_facts(&self, view: &OnDemandView, spine: &DatasetFacts) -> DatasetFacts {
        let mut columns = ColumnLineage::default();
        let code = format!("code {}", view.code_version());
        for output in view.output_names() {
            for of in view.inputs() {
                let dataset = view_dataset(&self.lineage, of.feature.view_key());
                columns.add(output, input(&dataset, of.feature.feature(), Transformation::Transform, &code));
            }
            for of in view.request() {
                columns.add(output, input(spine, of.name(), Transformation::Transform, &code));
            }
        }
        let schema = Arc::new(Schema::new(view.outputs().to_vec()));
        let facts = on_demand_dataset(&self.lineage, view.name()).with_version(view.code_version());
        facts.with_schema(schema).with_columns(columns)
    }

    /// The views that `service` reads by the keys that it reads them by, those that its on-demand views read too.
    fn views<'a>(&'a self, service: &'a FeatureService) -> Vec<Named<'a, FeatureView>> {
        let mut views: Vec<Named<'_, FeatureView>> = Vec::new();
        let inputs = self.on_demand(service).into_iter().flat_map(OnDemandView::inputs).map(|input| &input.feature);
        for key in service.features().iter().chain(inputs).map(FeatureRef::view_key) {
            if let Ok(view) = self.store.view(key)
                && !views.iter().any(|(known, _)| *known == key)
            {
                views.push((key, view));
            }
        }
        views
    }

    /// The label views of `service` by the keys that it reads them by, each once.
    fn labels<'a>(&'a self, service: &'a FeatureService) -> Vec<Named<'a, LabelView>> {
        let mut views: Vec<Named<'_, LabelView>> = Vec::new();
        for key in service.labels().iter().map(FeatureRef::view_key) {
            if let Ok(view) = self.store.label_view(key)
                && !views.iter().any(|(known, _)| *known == key)
            {
                views.push((key, view));
            }
        }
        views
    }

    /// A label view as a dataset of its own.
    fn label_facts(&self, key: &str, view: &LabelView) -> DatasetFacts {
        self.facts_over_table(label_dataset(&self.lineage, key), view.outcomes())
    }

    /// The tables of `views`, at the versions that were read.
    fn tables(&self, views: &[&FeatureView], set: Option<&TrainingSet>) -> Vec<DatasetFacts> {
        let mut names: Vec<&str> = views.iter().map(|view| view.table()).collect();
        names.sort_unstable();
        names.dedup();
        let facts = |name: &str| {
            let facts = table_facts(&self.store.table(name).ok()?);
            let version = set.and_then(|set| set.data_versions.get(name));
            Some(version.map_or(facts.clone(), |version| facts.with_version(version.version)))
        };
        names.into_iter().filter_map(facts).collect()
    }

    fn training_columns(
        &self,
        spine: &RecordBatch,
        service: &FeatureService,
        options: &HistoricalOptions,
        source: &DatasetFacts,
        (views, labels): (&[Named<'_, FeatureView>], &[Named<'_, LabelView>]),
    ) -> ColumnLineage {
        let mut columns = ColumnLineage::default();
        for field in spine.schema_ref().fields() {
            columns.add(field.name(), input(source, field.name(), Transformation::Identity, ""));
        }
        let keys = views.iter().flat_map(|(_, view)| view.entity().join_keys());
        let keys = keys.chain(labels.iter().flat_map(|(_, view)| view.entity().join_keys()));
        for label in service.labels() {
            let view = label_dataset(&self.lineage, label.view_key());
            columns.add(label.feature(), input(&view, label.feature(), Transformation::Identity, ""));
        }
        for feature in service.features() {
            let view = match self.store.on_demand_view(feature.view_key()) {
                Ok(view) => on_demand_dataset(&self.lineage, view.name()),
                Err(_) if views.iter().any(|(key, _)| *key == feature.view_key()) => {
                    view_dataset(&self.lineage, feature.view_key())
                }
                Err(_) => continue,
            };
            columns.add(feature.feature(), input(&view, feature.feature(), Transformation::Identity, ""));
        }
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            columns.add_for_all(input(source, key, Transformation::Join, "join key"));
        }
        columns.add_for_all(input(source, &options.timestamp, Transformation::Filter, "as of this time"));
        columns
    }
}

impl Traced<Materializer> {
    /// As [`Materializer::run`].
    ///
    /// # Errors
    /// As there.
    pub async fn run(&self, view: &str, until: Timestamp) -> Result<MaterializeReceipt> {
        let (run, facts) = self.begin(view).await;
        let outcome = self.inner.run(view, until).await;
        finish(run, facts, &outcome).await;
        outcome
    }

    /// As [`Materializer::backfill`].
    ///
    /// # Errors
    /// As there.
    pub async fn backfill(&self, view: &str, after: Option<Timestamp>, until: Timestamp) -> Result<MaterializeReceipt> {
        let (run, facts) = self.begin(view).await;
        let outcome = self.inner.backfill(view, after, until).await;
        finish(run, facts, &outcome).await;
        outcome
    }

    /// As [`Materializer::run_range`].
    ///
    /// # Errors
    /// As there.
    pub async fn run_range(&self, view: &str, start: Timestamp, end: Timestamp) -> Result<MaterializeReceipt> {
        let (run, facts) = self.begin(view).await;
        let outcome = self.inner.run_range(view, start, end).await;
        finish(run, facts, &outcome).await;
        outcome
    }

    /// As [`Materializer::catch_up`].
    ///
    /// # Errors
    /// As there.
    pub async fn catch_up(&self, view: &str) -> Result<FollowReceipt> {
        let (run, (mut inputs, mut target)) = self.begin(view).await;
        let outcome = self.inner.catch_up(view).await;
        if let Ok(FollowReceipt { rows, table_version, .. }) = &outcome {
            target = target.with_rows(*rows);
            if let Some(version) = table_version {
                inputs = inputs.into_iter().map(|facts| facts.with_version(version)).collect();
            }
        }
        end(run, &outcome, (inputs, vec![target])).await;
        outcome
    }

    async fn begin(&self, view: &str) -> (LineageRun, (Vec<DatasetFacts>, DatasetFacts)) {
        let (inputs, target) = match self.store.view(view) {
            Ok(found) => (self.tables(&[found], None), self.view_facts(view, found)),
            Err(_) => (Vec::new(), view_dataset(&self.lineage, view)),
        };
        let begun =
            self.lineage.begin(format!("materialize.{view}"), "MATERIALIZE", inputs.clone(), vec![target.clone()]);
        (begun.await, (inputs, target))
    }
}

async fn finish(run: LineageRun, facts: (Vec<DatasetFacts>, DatasetFacts), outcome: &Result<MaterializeReceipt>) {
    let (mut inputs, mut target) = facts;
    if let Ok(receipt) = outcome {
        if let Some(version) = receipt.table_version {
            inputs = inputs.into_iter().map(|facts| facts.with_version(version)).collect();
        }
        target = target.with_version(receipt.until).with_rows(receipt.rows);
    }
    end(run, outcome, (inputs, vec![target])).await;
}

fn view_dataset(lineage: &Lineage, view: &str) -> DatasetFacts {
    DatasetFacts::new(lineage.namespace(), format!("feature_view/{view}"))
}

fn label_dataset(lineage: &Lineage, view: &str) -> DatasetFacts {
    DatasetFacts::new(lineage.namespace(), format!("label_view/{view}"))
}

fn on_demand_dataset(lineage: &Lineage, view: &str) -> DatasetFacts {
    DatasetFacts::new(lineage.namespace(), format!("on_demand_view/{view}"))
}

fn table_facts(table: &Table) -> DatasetFacts {
    DatasetFacts::at(table.location()).with_schema(Arc::clone(table.schema()))
}

fn input(dataset: &DatasetFacts, column: &str, transformation: Transformation, description: &str) -> ColumnInput {
    ColumnInput {
        namespace: dataset.namespace().to_owned(),
        dataset: dataset.name().to_owned(),
        column: column.to_owned(),
        transformation,
        description: description.to_owned(),
    }
}

/// What the columns of a view are made of, its join keys among them.
fn view_columns(view: &FeatureView, table: &DatasetFacts) -> ColumnLineage {
    let mut columns = ColumnLineage::default();
    for key in view.entity().join_keys() {
        columns.add(key.as_ref(), input(table, key, Transformation::Identity, ""));
        columns.add_for_all(input(table, key, Transformation::GroupBy, "join key"));
    }
    for column in view.columns() {
        columns.add(column.as_ref(), input(table, column, Transformation::Identity, "latest value"));
    }
    for aggregation in view.aggregations() {
        let description = format!("{} over {:?}", aggregation.function, aggregation.window);
        let of = input(table, &aggregation.column, Transformation::Aggregation, &description);
        columns.add(aggregation.name.as_ref(), of);
        columns.add(aggregation.name.as_ref(), input(table, view.timestamp(), Transformation::Window, &description));
    }
    columns.add_for_all(input(table, view.timestamp(), Transformation::Filter, "event time"));
    columns
}

/// The columns of a view: join keys and features.
fn view_schema(view: &FeatureView, table: &Schema) -> SchemaRef {
    let of_table = |name: &str| table.field_with_name(name).ok().cloned();
    let keys = view.entity().join_keys().iter().filter_map(|key| of_table(key));
    let columns = view.columns().iter().filter_map(|column| of_table(column));
    let aggregated = view.aggregations().iter().filter_map(|aggregation| {
        let input = of_table(&aggregation.column)?;
        let output = aggregation.function.output_type(input.data_type()).ok()?;
        Some(Field::new(aggregation.name.as_ref(), output, true))
    });
    Arc::new(Schema::new(keys.chain(columns).chain(aggregated).collect::<Vec<_>>()))
}

/// One version for the tables that a training set was made of.
fn version_of(set: &TrainingSet) -> String {
    let parts: Vec<_> = set.data_versions.iter().map(|(name, version)| format!("{name}@{}", version.digest)).collect();
    Digest::of_parts(parts.iter().map(String::as_bytes)).short()
}
