//! Training sets from Delta tables.
//!
//! Nothing is read before it is wanted: of the tables only the log and the footers of files that can matter, then, by
//! whatever engine computes, the columns and row groups that do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{FieldRef, Schema};
use async_trait::async_trait;
use mlops_core::{Error, FeatureRef, Result, Timestamp};

use super::{
    DataVersion, HistoricalOptions, LabelViews, OfflineStore, ResolvedLabels, TrainingSet, check_columns,
    labels::LabelJoin,
};
use crate::{
    definition::FeatureService,
    engine::{ComputeEngine, LocalEngine, WindowJoin},
    join::{
        JoinSettings, JoinView, PointInTimeJoin,
        rows::{FeatureRows, ParquetRows},
    },
    online::ResolvedView,
    table::{Scan, Table, TableAt},
    time::micros,
};

/// Reads the tables of a feature store.
#[derive(Debug, Clone)]
pub struct DeltaOfflineStore {
    tables: Arc<BTreeMap<Arc<str>, Table>>,
    views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
    labels: Arc<LabelViews>,
    pub(super) settings: JoinSettings,
    engine: Arc<dyn ComputeEngine>,
}

/// What one view contributes to a training set.
struct Part {
    view: Arc<ResolvedView>,
    features: Vec<Arc<str>>,
    rows: Arc<dyn FeatureRows>,
}

/// A view and which of its features are asked for.
pub(super) type Asked = (Arc<ResolvedView>, Vec<Arc<str>>);

/// A label view and which of its labels are asked for.
type AskedLabels = (Arc<ResolvedLabels>, Vec<Arc<str>>);

impl DeltaOfflineStore {
    pub(crate) fn new(
        tables: Arc<BTreeMap<Arc<str>, Table>>,
        views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
        labels: Arc<LabelViews>,
        settings: JoinSettings,
    ) -> Self {
        Self { tables, views, labels, settings, engine: Arc::new(LocalEngine) }
    }

    /// Has `engine` compute what is asked for, instead of the kernels of this process.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<dyn ComputeEngine>) -> Self {
        self.engine = engine;
        self
    }

    /// How the kernels of this process run.
    #[must_use]
    pub fn with_settings(mut self, settings: JoinSettings) -> Self {
        self.settings = settings;
        self
    }

    /// `features` grouped by view, in order of first mention.
    pub(super) fn grouped(&self, features: &[FeatureRef]) -> Result<Vec<Asked>> {
        let mut groups: Vec<Asked> = Vec::new();
        for feature in features {
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

    /// The service's labels grouped by view, in order of first mention.
    fn grouped_labels(&self, service: &FeatureService) -> Result<Vec<AskedLabels>> {
        let mut groups: Vec<AskedLabels> = Vec::new();
        for label in service.labels() {
            let unknown = || Error::not_found(format!("label view \"{}\" is not defined", label.view_key()));
            let view = self.labels.get(label.view_key()).ok_or_else(unknown)?;
            view.check(label.feature())?;
            match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, view)) {
                Some((_, labels)) => labels.push(label.feature().into()),
                None => groups.push((Arc::clone(view), vec![label.feature().into()])),
            }
        }
        Ok(groups)
    }

    /// The table that `view` is over, and the version of it that is read.
    pub(super) async fn version(
        &self,
        view: &ResolvedView,
        options: &HistoricalOptions,
        versions: &mut BTreeMap<String, DataVersion>,
    ) -> Result<(&Table, u64)> {
        let name = view.view.table();
        let table = self.tables.get(name).ok_or_else(|| Error::not_found(format!("table \"{name}\" is not open")))?;
        if let Some(known) = versions.get(name) {
            return Ok((table, known.version));
        }
        let at = match (options.versions.get(name), options.as_of) {
            (Some(version), _) => TableAt::Version(*version),
            (None, Some(time)) => TableAt::AsOf(time),
            (None, None) => TableAt::Latest,
        };
        let data = table.resolve(at).await?;
        let version = data.version;
        versions.insert(name.to_owned(), data);
        Ok((table, version))
    }

    /// The rows that `view` needs for times within `range`.
    async fn rows(
        &self,
        view: &ResolvedView,
        range: Option<(i64, i64)>,
        options: &HistoricalOptions,
        versions: &mut BTreeMap<String, DataVersion>,
    ) -> Result<ParquetRows> {
        let (table, version) = self.version(view, options, versions).await?;
        let after = |first| reach(view).map(|reach| Timestamp::from_micros(first) - reach - Duration::from_micros(1));
        let range = range.map(|(first, last)| (after(first), Timestamp::from_micros(last)));
        rows_of(table, version, view, range).await
    }

    /// The labels `wanted` of `labels` and the outcomes that they need for times within `range`.
    async fn label_join(
        &self,
        (labels, wanted): AskedLabels,
        range: Option<(i64, i64)>,
        options: &HistoricalOptions,
        versions: &mut BTreeMap<String, DataVersion>,
    ) -> Result<LabelJoin> {
        let outcomes = &labels.outcomes;
        let (table, version) = self.version(outcomes, options, versions).await?;
        let known_by = match options.labels_known_by.or(options.as_of) {
            // Of what was recorded once there was a later version, this one cannot tell whether it happened.
            Some(time) => match table.succeeded_at(version).await? {
                Some(next) => time.min(next - Duration::from_micros(1)),
                None => time,
            },
            None => table.committed_at(version).await?.ok_or_else(|| {
                Error::failed_precondition(format!(
                    "when version {version} of table \"{}\" was committed is gone from its log; say in labels_known_by as of \
                     when labels are wanted",
                    table.name()
                ))
            })?,
        };
        let range = range
            .map(|(first, last)| (Some(Timestamp::from_micros(first)), labels.reach(Timestamp::from_micros(last))));
        let rows = Arc::new(rows_of(table, version, outcomes, range).await?);
        Ok(LabelJoin { labels, wanted, rows, known_by })
    }

    /// The columns of `parts` beside the spine: plain columns of all views in one join, then the windows of each.
    async fn columns(
        &self,
        spine: &RecordBatch,
        options: &HistoricalOptions,
        parts: &[Part],
    ) -> Result<BTreeMap<String, (FieldRef, ArrayRef)>> {
        let mut join = PointInTimeJoin::new(spine.clone())
            .with_timestamp(&options.timestamp)
            .with_knowledge(options.knowledge)
            .with_settings(self.settings.clone());
        let mut by_name = BTreeMap::new();
        for view in parts.iter().filter_map(Part::join_view) {
            join = join.with_view(view);
        }
        if parts.iter().any(|part| part.features(true).next().is_some()) {
            take_columns(&mut by_name, &self.engine.join(&join).await?, spine.num_columns());
        }
        for part in parts {
            let Some(windows) = part.windows(spine)? else { continue };
            let windows = windows
                .with_timestamp(&options.timestamp)
                .with_knowledge(options.knowledge)
                .with_settings(self.settings.clone());
            take_columns(&mut by_name, &self.engine.windows(&windows).await?, 0);
        }
        Ok(by_name)
    }
}

/// The rows of `view` in `table` after the first time and up to the last, as far as statistics tell; none without a
/// range.
pub(super) async fn rows_of(
    table: &Table,
    version: u64,
    view: &ResolvedView,
    range: Option<(Option<Timestamp>, Timestamp)>,
) -> Result<ParquetRows> {
    let scan = Scan::latest().at_version(version).with_columns(view.needed_columns());
    let Some((after, last)) = range else { return ParquetRows::of_table(table.scan_schema(&scan)?, []) };
    table.rows(&scan.with_time(view.view.timestamp(), after, Some(last))).await
}

/// The columns of `batch` after the first `skipped`.
fn take_columns(by_name: &mut BTreeMap<String, (FieldRef, ArrayRef)>, batch: &RecordBatch, skipped: usize) {
    let added = batch.schema_ref().fields().iter().zip(batch.columns()).skip(skipped);
    by_name.extend(added.map(|(field, column)| (field.name().clone(), (Arc::clone(field), Arc::clone(column)))));
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
    /// The features that are columns, or those that are windows.
    fn features(&self, are_columns: bool) -> impl Iterator<Item = &Arc<str>> {
        self.features.iter().filter(move |name| self.view.view.columns().contains(name) == are_columns)
    }

    fn join_view(&self) -> Option<JoinView> {
        let view = &self.view.view;
        self.features(true).next()?;
        let mut source = JoinView::of(view.name(), Arc::clone(&self.rows))
            .with_timestamp(view.timestamp())
            .with_ttl(view.ttl().unwrap_or_default());
        for key in view.entity().join_keys() {
            source = source.with_key(key, key);
        }
        if let Some(created) = view.created() {
            source = source.with_created(created);
        }
        for feature in self.features(true) {
            source = source.with_feature(feature, feature);
        }
        Some(source)
    }

    fn windows(&self, spine: &RecordBatch) -> Result<Option<WindowJoin>> {
        if self.features(false).next().is_none() {
            return Ok(None);
        }
        let windows = WindowJoin::of(spine.clone(), Arc::clone(&self.view), Arc::clone(&self.rows));
        windows.with_features(self.features(false)).map(Some)
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
        check_columns(spine, service)?;
        let times = micros(spine, &options.timestamp)?;
        let range = times.iter().flatten().min().copied().zip(times.iter().flatten().max().copied());
        let (mut parts, mut data_versions) = (Vec::new(), BTreeMap::new());
        for (view, features) in self.grouped(service.features())? {
            let rows = Arc::new(self.rows(&view, range, options, &mut data_versions).await?);
            parts.push(Part { view, features, rows });
        }
        let mut columns = self.columns(spine, options, &parts).await?;
        for asked in self.grouped_labels(service)? {
            let join = self.label_join(asked, range, options, &mut data_versions).await?;
            let found = join.columns(spine, &options.timestamp, &self.settings, &self.engine).await?;
            columns.extend(found.into_iter().map(|(field, column)| (field.name().clone(), (field, column))));
        }
        Ok(TrainingSet { batch: assemble(spine, service, columns)?, data_versions })
    }
}

fn assemble(
    spine: &RecordBatch,
    service: &FeatureService,
    mut by_name: BTreeMap<String, (FieldRef, ArrayRef)>,
) -> Result<RecordBatch> {
    let mut fields: Vec<_> = spine.schema_ref().fields().iter().cloned().collect();
    let mut columns = spine.columns().to_vec();
    for feature in service.columns() {
        let lost = || Error::internal(format!("feature \"{feature}\" was not computed"));
        let (field, column) = by_name.remove(feature.feature()).ok_or_else(lost)?;
        fields.push(field);
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(spine.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}
