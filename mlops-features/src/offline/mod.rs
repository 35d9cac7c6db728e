//! Training sets: a spine of entities and times, with every feature as it stood then and every label as it turned out.

mod delta;
mod entities;
mod labels;

pub use crate::table::DataVersion;
pub use delta::DeltaOfflineStore;
pub(crate) use labels::{LabelViews, ResolvedLabels};

use std::{collections::BTreeMap, fmt, sync::Arc};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use mlops_core::{Error, FeatureRef, Result, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Knowledge,
    definition::{EVENT_TIMESTAMP, FeatureService, first_duplicate},
};

/// A spine with its features, and where they came from.
#[derive(Debug, Clone)]
pub struct TrainingSet {
    /// The spine's columns and rows in the spine's order, then one column per feature of the service, in its order, then
    /// one per label.
    pub batch: RecordBatch,
    /// What was read, by table.
    pub data_versions: BTreeMap<String, DataVersion>,
}

/// How a training set is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoricalOptions {
    /// The spine's time column.
    pub timestamp: String,
    /// Which source rows a spine row may see.
    pub knowledge: Knowledge,
    /// Versions to read by table; where none is given, [`HistoricalOptions::as_of`] decides.
    pub versions: BTreeMap<String, u64>,
    /// Reads tables as they stood at this time; the newest version when none is given.
    pub as_of: Option<Timestamp>,
    /// Labels are as they were known at this time: outcomes that were recorded later are not seen, and a row whose window
    /// had not closed by then has null. Where none is given it is [`HistoricalOptions::as_of`], and without that the
    /// time of the commit that is read of the table of outcomes. A version that is not the newest knows nothing from the
    /// commit of the next one on, so a later time means the moment before that.
    ///
    /// Of a view without [`with_created`](crate::definition::LabelViewBuilder::with_created) all outcomes in the version
    /// that is read are seen, and this time tells only which windows are closed; give
    /// [`HistoricalOptions::as_of`] or a version instead.
    pub labels_known_by: Option<Timestamp>,
}

impl Default for HistoricalOptions {
    fn default() -> Self {
        Self {
            timestamp: EVENT_TIMESTAMP.to_owned(),
            knowledge: Knowledge::Event,
            versions: BTreeMap::new(),
            as_of: None,
            labels_known_by: None,
        }
    }
}

/// Makes training sets.
#[async_trait]
pub trait OfflineStore: fmt::Debug + Send + Sync + 'static {
    /// The features of `service` for each row of `spine`, by the rules of [`crate::join`] for plain columns and of
    /// [`crate::window`] for aggregates, and its labels, by those of [`crate::LabelView`]. The same versions and spine give the same bytes.
    ///
    /// # Errors
    /// `NotFound` for an unknown view, feature or version, `InvalidArgument` for a missing or wrongly typed key or
    /// time and for a feature named like a spine column, `Unavailable` or `DataLoss` when data cannot be read.
    async fn get_historical_opts(
        &self,
        spine: &RecordBatch,
        service: &FeatureService,
        options: &HistoricalOptions,
    ) -> Result<TrainingSet>;

    /// [`OfflineStore::get_historical_opts`] of the newest data, by event time.
    ///
    /// # Errors
    /// As there.
    async fn get_historical(&self, spine: &RecordBatch, service: &FeatureService) -> Result<TrainingSet> {
        self.get_historical_opts(spine, service, &HistoricalOptions::default()).await
    }
}

#[async_trait]
impl<T: OfflineStore + ?Sized> OfflineStore for Arc<T> {
    async fn get_historical_opts(
        &self,
        spine: &RecordBatch,
        service: &FeatureService,
        options: &HistoricalOptions,
    ) -> Result<TrainingSet> {
        (**self).get_historical_opts(spine, service, options).await
    }
}

/// Refuses what would give a training set two columns of one name.
pub(crate) fn check_columns(spine: &RecordBatch, service: &FeatureService) -> Result<()> {
    let names = spine.schema_ref().fields().iter().map(|field| field.name().as_str());
    match first_duplicate(names.chain(service.columns().map(FeatureRef::feature))) {
        None => Ok(()),
        Some(twice) => Err(Error::invalid_argument(format!(
            "column \"{twice}\" would occur twice; drop it from the spine or the service"
        ))),
    }
}

/// The keys and times of `spine`; a key that it does not have is told by whoever needs it.
pub(crate) fn keys_and_times<'a>(
    spine: &RecordBatch,
    keys: impl Iterator<Item = &'a Arc<str>>,
    timestamp: &'a str,
) -> Result<RecordBatch> {
    let schema = spine.schema();
    let names = keys.map(AsRef::as_ref).chain([timestamp]);
    let mut wanted: Vec<usize> = names.filter_map(|name| schema.index_of(name).ok()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    Ok(spine.project(&wanted)?)
}
