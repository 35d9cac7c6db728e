//! What is known of a logged model: plain data, as stored.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use mlops_core::{Error, Metric, Result, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    search::{PageRequest, View},
    tracking::ExperimentId,
};

/// Longest id in bytes.
const ID_BYTES_MAX: usize = 255;

/// The id of a logged model: `m-` and 32 hexadecimal digits when this SDK makes it.
///
/// ```
/// use mlops_registry::LoggedModelId;
///
/// assert_eq!("m-7".parse::<LoggedModelId>()?.as_str(), "m-7");
/// assert!("m/7".parse::<LoggedModelId>().is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LoggedModelId(Arc<str>);

impl LoggedModelId {
    /// Checks and keeps the id.
    ///
    /// # Errors
    /// `InvalidArgument` when it is empty, over 255 bytes, or has other characters than letters and digits of ASCII,
    /// `_` and `-`.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let permitted = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if text.is_empty() || text.len() > ID_BYTES_MAX || !text.bytes().all(permitted) {
            return Err(Error::invalid_argument(format!(
                "{text:?} is no id of a logged model; expected up to {ID_BYTES_MAX} letters, digits, _ and -"
            )));
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LoggedModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LoggedModelId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for LoggedModelId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<LoggedModelId> for String {
    fn from(id: LoggedModelId) -> Self {
        id.as_str().to_owned()
    }
}

/// Where a logged model stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LoggedModelStatus {
    /// Its files are on their way.
    #[default]
    Pending,
    /// Its files are complete.
    Ready,
    /// Its files could not be uploaded.
    UploadFailed,
}

impl LoggedModelStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Ready, Self::UploadFailed];

    /// The status as filters write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Ready => "READY",
            Self::UploadFailed => "UPLOAD_FAILED",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|status| status.name() == text);
        found.ok_or_else(|| Error::data_loss(format!("{text:?} is no status of a logged model")))
    }
}

/// A point of a metric that tells about a logged model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelMetric {
    /// The model.
    pub model: LoggedModelId,
    /// The point.
    pub metric: Metric,
    /// The run that measured it; when it is logged with a batch, the run of the batch.
    pub run: Option<RunId>,
    /// Name of the dataset it was measured on.
    pub dataset_name: Option<String>,
    /// Digest of that dataset.
    pub dataset_digest: Option<String>,
}

/// A logged model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedModel {
    /// Its id.
    pub id: LoggedModelId,
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// Its name, not necessarily unique.
    pub name: String,
    /// What kind it is, such as `classifier`; empty when nobody said.
    pub model_type: String,
    /// The run that made it.
    pub source_run: Option<RunId>,
    /// Where it stands.
    pub status: LoggedModelStatus,
    /// When it was created, in whole milliseconds.
    pub created: Timestamp,
    /// When its status last changed, in whole milliseconds.
    pub updated: Timestamp,
    /// URI of the directory of its files.
    pub artifact_uri: String,
    /// Whether it is marked as deleted.
    pub deleted: bool,
    /// Params.
    pub params: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Its points, oldest first; of very many the newest [`crate::limits::MODEL_POINTS_MAX`].
    pub metrics: Vec<ModelMetric>,
}

/// How to create a logged model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateLoggedModel {
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// Its name; absent: one is made up.
    pub name: Option<String>,
    /// What kind it is.
    pub model_type: String,
    /// The run that makes it.
    pub source_run: Option<RunId>,
    /// First params.
    pub params: Vec<(String, String)>,
    /// First tags.
    pub tags: Vec<(String, String)>,
}

impl CreateLoggedModel {
    /// A model of `experiment` under a made-up name.
    #[must_use]
    pub fn new(experiment: ExperimentId) -> Self {
        Self {
            experiment,
            name: None,
            model_type: String::new(),
            source_run: None,
            params: Vec::new(),
            tags: Vec::new(),
        }
    }

    /// Names it.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// Models that were measured on a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetFilter {
    /// Its name.
    pub name: String,
    /// Its digest; absent: any.
    pub digest: Option<String>,
}

impl DatasetFilter {
    pub(super) fn admits(&self, point: &ModelMetric) -> bool {
        point.dataset_name.as_deref() == Some(&self.name)
            && self.digest.as_ref().is_none_or(|digest| point.dataset_digest.as_ref() == Some(digest))
    }
}

/// A key to order logged models by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedModelOrder {
    /// An attribute such as `creation_timestamp`, or `metrics.<key>`.
    pub field: String,
    /// Whether small values come first.
    pub ascending: bool,
    /// Of a metric: measured on this dataset only.
    pub dataset_name: Option<String>,
    /// Of a metric: measured on a dataset of this digest only.
    pub dataset_digest: Option<String>,
}

/// A search for logged models.
///
/// ```
/// use mlops_registry::LoggedModelSearch;
///
/// let best = LoggedModelSearch::new().with_filter("metrics.auc > 0.9").with_order("metrics.auc", false);
/// assert_eq!(best.order_by.len(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoggedModelSearch {
    /// The filter; empty admits everything. A clause on a metric holds when it does for any point of it that counts.
    pub filter: String,
    /// Only models that were measured on one of these, and only such points count; empty: all.
    pub datasets: Vec<DatasetFilter>,
    /// Keys to order by, most important first; then newest first.
    pub order_by: Vec<LoggedModelOrder>,
    /// Whether deleted models count.
    pub view: View,
    /// Which page.
    pub page: PageRequest,
}

impl LoggedModelSearch {
    /// Everything that is not deleted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Admits only models that match.
    #[must_use]
    pub fn with_filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = filter.into();
        self
    }

    /// Orders by one more key.
    #[must_use]
    pub fn with_order(mut self, field: impl Into<String>, ascending: bool) -> Self {
        let field = field.into();
        self.order_by.push(LoggedModelOrder { field, ascending, dataset_name: None, dataset_digest: None });
        self
    }
}

/// A model that a run made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOutput {
    /// The model.
    pub model: LoggedModelId,
    /// The step of the run at which it was made.
    pub step: i64,
}

/// The models that a run read and made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunModels {
    /// Models it read, in the order they were linked.
    pub inputs: Vec<LoggedModelId>,
    /// Models it made, in the order they were linked.
    pub outputs: Vec<ModelOutput>,
}
