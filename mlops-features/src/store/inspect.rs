//! A view looked at as a whole: what its features are for every entity at one time, measured and judged.

use std::sync::Arc;

use arrow_array::{Array as _, RecordBatch};
use mlops_core::{BatchCheck, CheckOutcome, Error, FeatureRef, Result, Timestamp};

use super::FeatureStore;
use crate::{
    definition::FeatureService,
    join::Moments,
    metrics::{VIEW_ENTITIES, VIEW_MISSING_RATIO},
    offline::{HistoricalOptions, OfflineStore as _},
};

/// A view's features at one time, and what a check says of them.
#[derive(Debug, Clone)]
pub struct ViewInspection {
    /// A row for every entity: its join keys, `event_timestamp` (the time that was asked for), the features.
    pub values: RecordBatch,
    /// What the check found; row numbers are those of the values.
    pub outcome: CheckOutcome,
}

impl FeatureStore {
    /// Hands the features of `view`, as training sets would have them at `at` for every entity that was seen by then, to
    /// `check`: a suite of expectations, or whatever keeps statistics of batches. How many entities there are, and for
    /// each feature which part of them has none, goes to the store's meter (names in [`crate::metrics`]). All values
    /// are in memory at once.
    ///
    /// # Errors
    /// `NotFound` for an unknown view, `InvalidArgument` for a view without join keys, and the errors of making a
    /// training set and of the check.
    pub async fn inspect(&self, view: &str, at: Timestamp, check: Arc<dyn BatchCheck>) -> Result<ViewInspection> {
        let definition = self.view(view)?;
        let features = definition.feature_names().map(|name| FeatureRef::new(view, name));
        let service = FeatureService::new(definition.name(), features.collect::<Result<Vec<_>>>()?)?;
        let (offline, options) = (self.offline(), HistoricalOptions::default());
        let spine = offline.all_entities(&service, Moments::At(at), &options).await?;
        let values = offline.get_historical_opts(&spine, &service, &options).await?.batch;
        self.measure(view, &values, spine.num_columns());
        let batch = values.clone();
        let judged = tokio::task::spawn_blocking(move || check.check(&batch)).await;
        let outcome = judged.map_err(|_| Error::internal("a batch check panicked"))??;
        Ok(ViewInspection { values, outcome })
    }

    #[allow(clippy::cast_precision_loss, reason = "a share of rows")]
    fn measure(&self, view: &str, values: &RecordBatch, skipped: usize) {
        let rows = values.num_rows() as f64;
        self.meter.gauge(VIEW_ENTITIES, &[("view", view)], rows);
        let columns = values.schema_ref().fields().iter().zip(values.columns()).skip(skipped);
        for (field, column) in columns.filter(|_| rows > 0.0) {
            let labels = [("view", view), ("feature", field.name().as_str())];
            self.meter.gauge(VIEW_MISSING_RATIO, &labels, column.null_count() as f64 / rows);
        }
    }
}
