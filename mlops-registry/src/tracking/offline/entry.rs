//! What a journal holds: calls to send, and notes about what was sent.
//!
//! Invariant: each is one JSON object, and fields are only ever added. Values of metrics are text, because JSON has no NaN.

use std::collections::BTreeMap;

use mlops_core::{Error, Metric, Result, RunId, RunStatus, Timestamp};
use serde::{Deserialize, Serialize};

use crate::tracking::{Batch, DatasetInput};

/// A frame of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// A run begins.
    Start(Start),
    /// A run logs metrics, params and tags.
    Log { run: RunId, points: Vec<Point>, params: Vec<(String, String)>, tags: Vec<(String, String)> },
    /// A run reads datasets.
    Inputs { run: RunId, inputs: Vec<DatasetInput> },
    /// A run makes a file; the bytes are in base64.
    File { run: RunId, path: String, bytes: String },
    /// A run ends.
    Finish { run: RunId, status: RunStatus, ended: Timestamp },
    /// Everything before this byte of the journal is with the store.
    Sent { to: u64 },
    /// The id under which the store knows a run.
    Known { run: RunId, there: RunId },
}

/// How a run begins. The experiment goes by its name: numbers are the store's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) run: RunId,
    pub(super) experiment: String,
    pub(super) name: String,
    pub(super) user: String,
    pub(super) started: Timestamp,
    pub(super) tags: BTreeMap<String, String>,
}

/// A point of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    key: String,
    value: String,
    at: Timestamp,
    step: i64,
}

impl From<&Metric> for Point {
    fn from(metric: &Metric) -> Self {
        Self { key: metric.key.clone(), value: metric.value.to_string(), at: metric.timestamp, step: metric.step }
    }
}

impl Point {
    fn metric(&self) -> Result<Metric> {
        let value = self.value.parse().map_err(|_| {
            Error::data_loss(format!("metric {:?} of an offline journal has {:?} for a number", self.key, self.value))
        })?;
        Ok(Metric { key: self.key.clone(), value, timestamp: self.at, step: self.step })
    }
}

impl Entry {
    pub(super) fn log(run: &RunId, batch: &Batch) -> Self {
        let points = batch.metrics.iter().map(Point::from).collect();
        Self::Log { run: run.clone(), points, params: batch.params.clone(), tags: batch.tags.clone() }
    }

    /// The run that it writes to; none of a beginning and of notes.
    pub(super) fn written(&self) -> Option<&RunId> {
        match self {
            Self::Log { run, .. } | Self::Inputs { run, .. } | Self::File { run, .. } | Self::Finish { run, .. } => {
                Some(run)
            }
            Self::Start(_) | Self::Sent { .. } | Self::Known { .. } => None,
        }
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::internal("an entry cannot be written to the offline journal").with_source(error))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::data_loss("the offline journal holds an entry that this version cannot read").with_source(error)
        })
    }
}

/// The metrics of points.
pub(super) fn metrics(points: &[Point]) -> Result<Vec<Metric>> {
    points.iter().map(Point::metric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_bit_by_bit() {
        let values = [0.1, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        let metric = |&value: &f64| Metric { key: "m".into(), value, timestamp: Timestamp::from_millis(7), step: -3 };
        let batch = Batch { metrics: values.iter().map(metric).collect(), ..Batch::default() };
        let bytes = Entry::log(&RunId::new("r").unwrap(), &batch).to_bytes().unwrap();
        let Entry::Log { points, .. } = Entry::from_bytes(&bytes).unwrap() else { panic!("another entry") };
        for (metric, value) in metrics(&points).unwrap().iter().zip(values) {
            assert!(metric.value.to_bits() == value.to_bits() || metric.value.is_nan() && value.is_nan(), "{value}");
        }
    }
}
