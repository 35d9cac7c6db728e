//! The messages of OpenLineage 2-0-2, field for field. Facets are JSON objects by name; [`super`] fills those it knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What [`RunEvent::schema_url`] says.
pub const SCHEMA_URL: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";

/// Facets by name.
pub type Facets = BTreeMap<String, Value>;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventType {
    /// Began.
    Start,
    /// Goes on.
    Running,
    /// Ended well.
    Complete,
    /// Was given up.
    Abort,
    /// Ended in an error.
    Fail,
    /// Says something else of the run.
    Other,
}

/// One step in the life of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEvent {
    /// When, RFC 3339.
    pub event_time: String,
    /// Who says so, a URI.
    pub producer: String,
    /// The schema of this message.
    #[serde(rename = "schemaURL")]
    pub schema_url: String,
    /// Which step.
    pub event_type: EventType,
    /// The run.
    pub run: Run,
    /// Its job.
    pub job: Job,
    /// What it read.
    #[serde(default)]
    pub inputs: Vec<Dataset>,
    /// What it wrote.
    #[serde(default)]
    pub outputs: Vec<Dataset>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// UUID, the same from start to end.
    pub run_id: String,
    /// `parent`, `errorMessage`, `processing_engine`...
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facets: Facets,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Who runs it.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// `jobType`...
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facets: Facets,
}

/// A dataset that a run read or wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dataset {
    /// Where it is, such as `file` or `s3://bucket`.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// `schema`, `version`, `columnLineage`...
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facets: Facets,
    /// Of a dataset that was read: `dataQualityMetrics`, `inputStatistics`...
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub input_facets: Facets,
    /// Of a dataset that was written: `outputStatistics`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub output_facets: Facets,
}

impl Dataset {
    /// A dataset without facets.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            facets: Facets::new(),
            input_facets: Facets::new(),
            output_facets: Facets::new(),
        }
    }
}
