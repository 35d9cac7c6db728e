//! What a join takes from one source of features.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use mlops_core::{Result, ResultExt};
use serde::{Deserialize, Serialize};

use super::rows::{BatchRows, FeatureRows, ParquetRows};
use crate::definition::EVENT_TIMESTAMP;

/// Whether a spine row sees what happens at its very moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// It sees what becomes visible at or before its time.
    #[default]
    Inclusive,
    /// It sees what becomes visible before its time. This is the safe choice when spine and features come from the
    /// same event, which would otherwise see itself.
    Exclusive,
}

/// One source of features for a join.
///
/// The same source may be joined under several roles, each a view of its own: a flight's `origin` and `dest` are two
/// views of airports, with [`JoinView::with_key`] `("origin", "airport")` and `("dest", "airport")`.
#[derive(Debug, Clone)]
pub struct JoinView {
    pub(crate) name: Arc<str>,
    pub(crate) rows: Arc<dyn FeatureRows>,
    pub(crate) spine_keys: Vec<Arc<str>>,
    pub(crate) source_keys: Vec<Arc<str>>,
    pub(crate) timestamp: Arc<str>,
    pub(crate) created: Option<Arc<str>>,
    pub(crate) features: Vec<(Arc<str>, Arc<str>)>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) bound: Bound,
    pub(crate) event_timestamp: Option<Arc<str>>,
}

impl JoinView {
    /// Source rows `batches` in order of ingestion, all of `schema`, with no keys (global) and no features yet.
    #[must_use]
    pub fn new(name: impl AsRef<str>, schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self::of(name, Arc::new(BatchRows::new(schema, batches)))
    }

    /// The rows of Parquet files in order of ingestion, with no keys (global) and no features yet. Only footers are
    /// kept: a join streams the files and reads of them the columns and row groups that can matter.
    ///
    /// # Errors
    /// `InvalidArgument` without a file and for one that lacks a column of the first or has it in another type;
    /// `NotFound`, `Unavailable` or `DataLoss` for one that cannot be read.
    pub fn parquet(name: impl AsRef<str>, files: impl IntoIterator<Item = PathBuf>) -> Result<Self> {
        let rows = ParquetRows::open(files).context(format!("feature view \"{}\"", name.as_ref()))?;
        Ok(Self::of(name, Arc::new(rows)))
    }

    pub(crate) fn of(name: impl AsRef<str>, rows: Arc<dyn FeatureRows>) -> Self {
        Self {
            name: name.as_ref().into(),
            rows,
            spine_keys: Vec::new(),
            source_keys: Vec::new(),
            timestamp: EVENT_TIMESTAMP.into(),
            created: None,
            features: Vec::new(),
            ttl: None,
            bound: Bound::default(),
            event_timestamp: None,
        }
    }

    /// Also compares column `spine` of the spine with column `source` of the source.
    #[must_use]
    pub fn with_key(mut self, spine: impl AsRef<str>, source: impl AsRef<str>) -> Self {
        self.spine_keys.push(spine.as_ref().into());
        self.source_keys.push(source.as_ref().into());
        self
    }

    /// Event time is in `column` instead of `event_timestamp`.
    #[must_use]
    pub fn with_timestamp(mut self, column: impl AsRef<str>) -> Self {
        self.timestamp = column.as_ref().into();
        self
    }

    /// Creation time is in `column`.
    #[must_use]
    pub fn with_created(mut self, column: impl AsRef<str>) -> Self {
        self.created = Some(column.as_ref().into());
        self
    }

    /// Takes column `source` under the name `output`.
    #[must_use]
    pub fn with_feature(mut self, source: impl AsRef<str>, output: impl AsRef<str>) -> Self {
        self.features.push((source.as_ref().into(), output.as_ref().into()));
        self
    }

    /// A winner older than `ttl` counts as no match; zero means any age.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = (!ttl.is_zero()).then_some(ttl);
        self
    }

    /// Whether a row at the spine row's very moment is seen.
    #[must_use]
    pub fn with_bound(mut self, bound: Bound) -> Self {
        self.bound = bound;
        self
    }

    /// Adds the winner's event time as column `output`.
    #[must_use]
    pub fn with_event_timestamp_as(mut self, output: impl AsRef<str>) -> Self {
        self.event_timestamp = Some(output.as_ref().into());
        self
    }

    /// Names of the columns that the view adds to the spine, in order.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|(_, output)| output.as_ref()).chain(self.event_timestamp.as_deref())
    }
}
