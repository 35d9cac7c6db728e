//! Training sets from Delta tables, joined by our own kernels.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema};
use arrow_select::concat::concat_batches;
use async_trait::async_trait;
use mlops_core::{Error, Result, Timestamp};

use super::{DataVersion, HistoricalOptions, OfflineStore, TrainingSet};
use crate::{
    definition::{FeatureService, first_duplicate},
    join::{JoinSettings, JoinView, PointInTimeJoin},
    online::ResolvedView,
    table::{Scan, Table, TableAt},
    time::micros,
    window::history_columns,
};

/// Reads the tables of a feature store.
#[derive(Debug, Clone)]
pub struct DeltaOfflineStore {
    tables: Arc<BTreeMap<Arc<str>, Table>>,
    views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
    settings: JoinSettings,
}

/// What one view contributes to a training set.
struct Part {
    view: Arc<ResolvedView>,
    features: Vec<Arc<str>>,
    batches: Vec<RecordBatch>,
}

type NamedColumns = Vec<(Field, ArrayRef)>;

/// A view and which of its features are asked for.
type Asked = (Arc<ResolvedView>, Vec<Arc<str>>);

impl DeltaOfflineStore {
    pub(crate) fn new(
        tables: Arc<BTreeMap<Arc<str>, Table>>,
        views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
        settings: JoinSettings,
    ) -> Self {
        Self { tables, views, settings }
    }

    /// The service's features grouped by view, in order of first mention.
    fn grouped(&self, service: &FeatureService) -> Result<Vec<Asked>> {
        let mut groups: Vec<Asked> = Vec::new();
        for feature in service.features() {
            let unknown = || Error::not_found(format!("feature view \"{}\" is not defined", feature.view_key()));
            let view = self.views.get(feature.view_key()).ok_or_else(unknown)?;
            view.place(feature.feature())?;
            match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, view)) {
                Some((_, features)) => features.push(feature.feature().into()),
                None => groups.push((Arc::clone(view), vec![feature.feature().into()])),
            }
        }
        Ok(groups)
    }

    /// Reads what `view` needs for times within `range`.
    async fn read(
        &self,
        view: &ResolvedView,
        range: Option<(i64, i64)>,
        options: &HistoricalOptions,
        versions: &mut BTreeMap<String, DataVersion>,
    ) -> Result<Vec<RecordBatch>> {
        let name = view.view.table();
        let table = self.tables.get(name).ok_or_else(|| Error::not_found(format!("table \"{name}\" is not open")))?;
        let version = match versions.get(name) {
            Some(known) => known.version,
            None => {
                let at = match (options.versions.get(name), options.as_of) {
                    (Some(version), _) => TableAt::Version(*version),
                    (None, Some(time)) => TableAt::AsOf(time),
                    (None, None) => TableAt::Latest,
                };
                let data = table.resolve(at).await?;
                let version = data.version;
                versions.insert(name.to_owned(), data);
                version
            }
        };
        let Some((first, last)) = range else { return Ok(Vec::new()) };
        let scan = Scan::latest().at_version(version).with_columns(view.needed_columns());
        let after = reach(view).map(|reach| Timestamp::from_micros(first) - reach - Duration::from_micros(1));
        let scan = scan.with_time(view.view.timestamp(), after, Some(Timestamp::from_micros(last)));
        table.scan_all(scan).await
    }
}

/// How far before a row's time an event can still matter; none is without limit.
fn reach(view: &ResolvedView) -> Option<Duration> {
    match (view.view.columns().is_empty(), view.view.ttl()) {
        (true, _) => Some(view.view.window_max()),
        (false, Some(ttl)) => Some(ttl.max(view.view.window_max())),
        (false, None) => None,
    }
}

impl Part {
    fn columns(
        &self,
        spine: &RecordBatch,
        options: &HistoricalOptions,
        settings: &JoinSettings,
    ) -> Result<NamedColumns> {
        let view = &self.view.view;
        let is_column = |name: &Arc<str>| view.columns().contains(name);
        let needed: Vec<Arc<str>> = self.view.needed_columns();
        let fields = self.batches.first().map(RecordBatch::schema);
        let schema = match fields {
            Some(schema) => schema,
            None => self.empty_schema(&needed)?,
        };
        let mut columns = Vec::with_capacity(self.features.len());
        if self.features.iter().any(is_column) {
            let mut source = JoinView::new(view.name(), Arc::clone(&schema), self.batches.clone())
                .with_timestamp(view.timestamp())
                .with_ttl(view.ttl().unwrap_or_default());
            for key in view.entity().join_keys() {
                source = source.with_key(key, key);
            }
            if let Some(created) = view.created() {
                source = source.with_created(created);
            }
            for feature in self.features.iter().filter(|feature| is_column(feature)) {
                source = source.with_feature(feature, feature);
            }
            let joined = PointInTimeJoin::new(spine.clone())
                .with_timestamp(&options.timestamp)
                .with_view(source)
                .with_knowledge(options.knowledge)
                .with_settings(settings.clone())
                .run()?;
            let added = joined.schema_ref().fields().iter().zip(joined.columns()).skip(spine.num_columns());
            columns.extend(added.map(|(field, column)| (field.as_ref().clone(), Arc::clone(column))));
        }
        let windows: Vec<&str> = self.features.iter().filter(|name| !is_column(name)).map(AsRef::as_ref).collect();
        if !windows.is_empty() {
            let source = concat_batches(&schema, &self.batches)?;
            let plan = &self.view.plan;
            let (timestamp, knowledge) = (&options.timestamp, options.knowledge);
            columns.extend(history_columns(spine, timestamp, &source, view, plan, knowledge, &windows)?);
        }
        Ok(columns)
    }

    fn empty_schema(&self, needed: &[Arc<str>]) -> Result<Arc<Schema>> {
        let fields = needed.iter().map(|name| self.view.source.field_with_name(name).cloned());
        Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>, _>>()?)))
    }
}

#[async_trait]
impl OfflineStore for DeltaOfflineStore {
    async fn get_historical_opts(
        &self,
        spine: &RecordBatch,
        service: &FeatureService,
        options: &HistoricalOptions,
    ) -> Result<TrainingSet> {
        let spine_names = spine.schema_ref().fields().iter().map(|field| field.name().as_str());
        let features = service.features().iter().map(mlops_core::FeatureRef::feature);
        if let Some(twice) = first_duplicate(spine_names.chain(features)) {
            return Err(Error::invalid_argument(format!(
                "column \"{twice}\" is both in the spine and a feature; drop it from one of them"
            )));
        }
        let times = micros(spine, &options.timestamp)?;
        let range = times.iter().flatten().min().copied().zip(times.iter().flatten().max().copied());
        let (mut parts, mut data_versions) = (Vec::new(), BTreeMap::new());
        for (view, features) in self.grouped(service)? {
            let batches = self.read(&view, range, options, &mut data_versions).await?;
            parts.push(Part { view, features, batches });
        }
        let (spine, service, options, settings) =
            (spine.clone(), service.clone(), options.clone(), self.settings.clone());
        let work = move || assemble(&spine, &service, &options, &settings, &parts);
        let batch = tokio::task::spawn_blocking(work).await;
        let batch = batch.map_err(|_| Error::internal("a point-in-time join panicked"))??;
        Ok(TrainingSet { batch, data_versions })
    }
}

fn assemble(
    spine: &RecordBatch,
    service: &FeatureService,
    options: &HistoricalOptions,
    settings: &JoinSettings,
    parts: &[Part],
) -> Result<RecordBatch> {
    let mut by_name: BTreeMap<String, (Field, ArrayRef)> = BTreeMap::new();
    for part in parts {
        for (field, column) in part.columns(spine, options, settings)? {
            by_name.insert(field.name().clone(), (field, column));
        }
    }
    let mut fields: Vec<_> = spine.schema_ref().fields().iter().cloned().collect();
    let mut columns = spine.columns().to_vec();
    for feature in service.features() {
        let lost = || Error::internal(format!("feature \"{feature}\" was not computed"));
        let (field, column) = by_name.remove(feature.feature()).ok_or_else(lost)?;
        fields.push(Arc::new(field));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(spine.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}
