//! How good the model was when it was released, to be stored beside it.
//!
//! Invariant: it holds estimates with their evidence, never rows, so it is small and can be
//! published; reading it back gives the same verdicts.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use mlops_metrics::{Estimate, Measure};
use serde::{Deserialize, Serialize};

use super::{
    business_report::mean_value,
    rows::{Cell, LabeledRows, number_edges},
    settings::PerformanceSettings,
};
use crate::stats::count_of;

/// Version of the layout.
const FORMAT: u32 = 1;
/// Largest stored reference that is read.
const BYTES_MAX: usize = 16 << 20;

/// What performance is compared with.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_monitor::performance::{LabeledRows, PerformanceReference, PerformanceSettings, Task};
///
/// let settings = PerformanceSettings::new(Task::regression("y")).with_metrics(["mae", "bias"])?;
/// let predictions: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, 5.0]));
/// let labels: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 3.0, 3.0]));
/// let validation = RecordBatch::try_from_iter([("y", predictions), ("label", labels)])?;
/// let rows = LabeledRows::from_batch(&settings.columns(), &validation)?;
/// let reference = PerformanceReference::from_rows(&settings, &rows)?;
/// assert_eq!(reference.estimate("mae".parse()?).map(|estimate| estimate.value), Some(1.0));
/// assert_eq!(PerformanceReference::from_json(&reference.to_json()?)?, reference);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerformanceReference {
    format: u32,
    rows: u64,
    metrics: BTreeMap<Measure, Estimate>,
    /// Metrics that were not defined, and why.
    undefined: BTreeMap<Measure, String>,
    /// Quantile edges of numeric segments and protected attributes.
    edges: BTreeMap<String, Vec<f64>>,
    value_per_row: Option<Estimate>,
}

impl PerformanceReference {
    /// From labeled rows, such as a validation set, or the first settled window in production.
    ///
    /// # Errors
    /// `InvalidArgument` for wrong settings; `FailedPrecondition` without rows or when no metric
    /// is defined for them.
    pub fn from_rows(settings: &PerformanceSettings, rows: &LabeledRows) -> Result<Self> {
        settings.validate()?;
        let (mut metrics, mut undefined) = (BTreeMap::new(), BTreeMap::new());
        for measure in settings.measures() {
            match rows.outcomes.estimate(&settings.task, measure, &settings.estimates) {
                Ok(estimate) => drop(metrics.insert(measure, estimate)),
                Err(error) => drop(undefined.insert(measure, error.message().to_owned())),
            }
        }
        if metrics.is_empty() {
            return Err(Error::failed_precondition(format!(
                "a reference needs rows for which a metric is defined, found {} rows",
                rows.len()
            )));
        }
        let slices = settings.slices.iter().flat_map(|slices| slices.columns.iter().map(|name| (name, slices.bins)));
        let fairness = settings.fairness.iter().flat_map(|f| f.protected.iter().map(|name| (name, f.bins)));
        let mut edges = BTreeMap::new();
        for (name, bins) in slices.chain(fairness) {
            let cells = rows.column(name).unwrap_or_default();
            // A column without numbers here may have some later; then they are cut where they lie.
            if cells.iter().any(|cell| matches!(cell, Cell::Number(_))) {
                edges.entry(name.clone()).or_insert_with(|| number_edges(cells, bins));
            }
        }
        let value_per_row = settings
            .business
            .as_ref()
            .and_then(|business| mean_value(&business.values(&settings.task, rows), settings.estimates.level));
        Ok(Self { format: FORMAT, rows: count_of(rows.len()), metrics, undefined, edges, value_per_row })
    }

    /// Rows behind it.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// A metric's estimate; none when it was not asked for or not defined.
    #[must_use]
    pub fn estimate(&self, measure: Measure) -> Option<&Estimate> {
        self.metrics.get(&measure)
    }

    /// Mean value of a row, when rows had a value.
    #[must_use]
    pub fn value_per_row(&self) -> Option<&Estimate> {
        self.value_per_row.as_ref()
    }

    pub(crate) fn edges(&self, column: &str) -> Option<&[f64]> {
        self.edges.get(column).map(Vec::as_slice)
    }

    /// As JSON text.
    ///
    /// # Errors
    /// `Internal` when it cannot be written.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::internal("a performance reference cannot be written").with_source(error))
    }

    /// From JSON text.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not a reference of this format, or beyond 16 MiB.
    pub fn from_json(json: &str) -> Result<Self> {
        if json.len() > BYTES_MAX {
            return Err(Error::invalid_argument(format!(
                "a performance reference has at most {BYTES_MAX} bytes, found {}",
                json.len()
            )));
        }
        let invalid = |error| Error::invalid_argument("this is not a performance reference").with_source(error);
        let reference: Self = serde_json::from_str(json).map_err(invalid)?;
        let sorted = reference.edges.values().all(|edges| edges.is_sorted_by(|a, b| a < b));
        if reference.format != FORMAT || !sorted {
            return Err(Error::invalid_argument(format!(
                "a performance reference needs format {FORMAT} and ascending edges, found format {}",
                reference.format
            )));
        }
        Ok(reference)
    }
}
