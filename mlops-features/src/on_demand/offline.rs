//! Training sets with on-demand features: a decorator over any offline store.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{FieldRef, Schema};
use async_trait::async_trait;
use mlops_core::{Error, FeatureRef, Result};

use super::{Expansion, OnDemandViews};
use crate::{
    definition::FeatureService,
    engine::ComputeEngine,
    join::{JoinSettings, Moments},
    offline::{DeltaOfflineStore, HistoricalOptions, OfflineStore, TrainingSet, check_columns, keys_and_times},
};

/// An offline store that knows on-demand views as well: their inputs are joined as of each row's time, their request
/// data are columns of the spine.
#[derive(Debug, Clone)]
pub struct OnDemandOfflineStore<T> {
    inner: T,
    on_demand: Arc<OnDemandViews>,
}

/// Stored features that one call to the inner store can give: no two of one name, none named like a column of the
/// spine that is handed in.
#[derive(Debug, Default)]
struct Group {
    members: Vec<usize>,
    keys: Vec<Arc<str>>,
}

impl<T> OnDemandOfflineStore<T> {
    pub(crate) fn new(inner: T, on_demand: Arc<OnDemandViews>) -> Self {
        Self { inner, on_demand }
    }

    /// The store that knows feature views alone.
    pub fn inner(&self) -> &T {
        &self.inner
    }
}

impl OnDemandOfflineStore<DeltaOfflineStore> {
    /// Has `engine` compute joins and windows, instead of the kernels of this process. The code of on-demand views always
    /// runs here.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<dyn ComputeEngine>) -> Self {
        self.inner = self.inner.with_engine(engine);
        self
    }

    /// How the kernels of this process run.
    #[must_use]
    pub fn with_settings(mut self, settings: JoinSettings) -> Self {
        self.inner = self.inner.with_settings(settings);
        self
    }

    /// A spine of every entity of the views that `service` reads, those that on-demand views read too, as
    /// [`DeltaOfflineStore::all_entities`] makes one. What only a request knows is not in it.
    ///
    /// # Errors
    /// As there.
    pub async fn all_entities(
        &self,
        service: &FeatureService,
        moments: Moments,
        options: &HistoricalOptions,
    ) -> Result<RecordBatch> {
        match Expansion::new(&self.on_demand, service.features())? {
            Some(expansion) => self.inner.entities_of(&expansion.stored, moments, options).await,
            None => self.inner.all_entities(service, moments, options).await,
        }
    }
}

impl Group {
    /// Whether stored feature `at` finds its place here.
    fn takes(&self, expansion: &Expansion, at: usize) -> bool {
        let name = |at: usize| expansion.stored.get(at).map(FeatureRef::feature);
        let is_key = |name: Option<&str>, keys: &[Arc<str>]| keys.iter().any(|key| Some(key.as_ref()) == name);
        let keys = expansion.keys(at);
        !is_key(name(at), &self.keys)
            && self.members.iter().all(|member| name(*member) != name(at) && !is_key(name(*member), keys))
    }

    fn add(&mut self, expansion: &Expansion, at: usize) {
        self.members.push(at);
        for key in expansion.keys(at) {
            if !self.keys.contains(key) {
                self.keys.push(Arc::clone(key));
            }
        }
    }
}

/// The stored features in groups: the first is asked with the whole spine and has those that were asked for, the others
/// are asked with their keys and times alone.
fn groups(expansion: &Expansion, spine: &Schema) -> Vec<Group> {
    let mut groups = vec![Group { members: (0..expansion.visible).collect(), keys: Vec::new() }];
    for at in expansion.visible..expansion.stored.len() {
        let in_spine = expansion.stored.get(at).is_some_and(|one| spine.field_with_name(one.feature()).is_ok());
        let found = groups.iter_mut().skip(usize::from(in_spine)).find(|group| group.takes(expansion, at));
        match found {
            Some(group) => group.add(expansion, at),
            None => {
                let mut group = Group::default();
                group.add(expansion, at);
                groups.push(group);
            }
        }
    }
    groups
}

impl<T: OfflineStore> OnDemandOfflineStore<T> {
    /// The stored features of `expansion` for each row of `spine`, all of the same versions of their tables.
    async fn stored(
        &self,
        expansion: &Expansion,
        spine: &RecordBatch,
        service: &FeatureService,
        options: &HistoricalOptions,
    ) -> Result<(BTreeMap<usize, (FieldRef, ArrayRef)>, TrainingSet)> {
        let mut options = options.clone();
        let mut set = TrainingSet { batch: spine.clone(), data_versions: BTreeMap::new() };
        let mut found = BTreeMap::new();
        for (number, group) in groups(expansion, spine.schema_ref()).into_iter().enumerate() {
            if group.members.is_empty() {
                continue;
            }
            let narrow =
                (number > 0).then(|| keys_and_times(spine, group.keys.iter(), &options.timestamp)).transpose()?;
            let features = group.members.iter().filter_map(|at| expansion.stored.get(*at).cloned());
            let part = FeatureService::new(service.name(), features)?;
            let spine = narrow.as_ref().unwrap_or(spine);
            let got = self.inner.get_historical_opts(spine, &part, &options).await?;
            let (schema, columns) = (got.batch.schema(), got.batch.columns());
            let added = schema.fields().iter().zip(columns).skip(spine.num_columns());
            found.extend(
                group
                    .members
                    .iter()
                    .zip(added)
                    .map(|(at, (field, column))| (*at, (Arc::clone(field), Arc::clone(column)))),
            );
            options.versions.extend(got.data_versions.iter().map(|(name, data)| (name.clone(), data.version)));
            set.data_versions.extend(got.data_versions);
        }
        Ok((found, set))
    }
}

#[async_trait]
impl<T: OfflineStore> OfflineStore for OnDemandOfflineStore<T> {
    async fn get_historical_opts(
        &self,
        spine: &RecordBatch,
        service: &FeatureService,
        options: &HistoricalOptions,
    ) -> Result<TrainingSet> {
        let Some(expansion) = Expansion::new(&self.on_demand, service.features())? else {
            return self.inner.get_historical_opts(spine, service, options).await;
        };
        check_columns(spine, service)?;
        expansion.check_request(spine.schema_ref())?;
        let (found, mut set) = self.stored(&expansion, spine, service, options).await?;
        let (rows, features) = (spine.clone(), service.features().to_vec());
        let work = move || finish(&expansion, &rows, &features, found);
        let batch = tokio::task::spawn_blocking(work).await;
        set.batch = batch.map_err(|_| Error::internal("computing features on demand panicked"))??;
        if service.labels().is_empty() {
            return Ok(set);
        }
        let mut options = options.clone();
        options.versions.extend(set.data_versions.iter().map(|(name, data)| (name.clone(), data.version)));
        let labels = self.inner.get_historical_opts(spine, &service.labels_alone(), &options).await?;
        set.data_versions.extend(labels.data_versions);
        set.batch = beside(&set.batch, &labels.batch, spine.num_columns())?;
        Ok(set)
    }
}

/// `batch` with the columns of `labels` after the first `skipped`.
fn beside(batch: &RecordBatch, labels: &RecordBatch, skipped: usize) -> Result<RecordBatch> {
    let (schema, added) = (batch.schema(), labels.schema());
    let fields = schema.fields().iter().chain(added.fields().iter().skip(skipped)).cloned();
    let columns = batch.columns().iter().chain(labels.columns().iter().skip(skipped)).cloned().collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

fn finish(
    expansion: &Expansion,
    spine: &RecordBatch,
    features: &[FeatureRef],
    found: BTreeMap<usize, (FieldRef, ArrayRef)>,
) -> Result<RecordBatch> {
    // By position among the stored, every one of which was read.
    let (fields, columns): (Vec<_>, Vec<_>) = found.into_values().unzip();
    let fields = expansion.fields(features, &fields)?;
    let columns = expansion.finish(&columns, spine)?;
    let fields: Vec<_> = spine.schema_ref().fields().iter().cloned().chain(fields).collect();
    let columns = [spine.columns(), &columns].concat();
    let options = RecordBatchOptions::new().with_row_count(Some(spine.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}
