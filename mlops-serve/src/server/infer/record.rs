//! The prediction log, and copies for a shadow.

use std::sync::Arc;

use arrow_array::RecordBatch;
use mlops_core::{Delivery, Model as _, PredictionBatch, Timestamp};

use super::Routed;
use crate::{
    executor::guarded,
    repository::{LoadedVersion, predict_rows},
    rollout::Variant,
    server::Inner,
};

/// Copies for a shadow that were not predicted, for want of a worker or of the request's time.
const SHADOWS_SKIPPED: &str = "mlops_serve_shadow_skipped_total";

impl Inner {
    pub(super) fn log(&self, routed: &Routed, at: Option<Timestamp>, inputs: RecordBatch, outputs: &RecordBatch) {
        let Some(sink) = &self.predictions else { return };
        let delivery = sink.append(PredictionBatch {
            request_id: Arc::clone(&routed.request_id),
            model: routed.entry.config.name.clone(),
            version: routed.version.version,
            variant: routed.variant.as_str().into(),
            propensity: routed.propensity,
            at: at.unwrap_or_else(|| self.clock.now()),
            inputs,
            outputs: outputs.clone(),
        });
        if delivery == Delivery::Dropped {
            let model = routed.entry.config.name.as_str();
            self.meter.count("mlops_serve_predictions_dropped_total", &[("model", model)], 1);
        }
    }

    /// Lets the candidate predict a copy on a worker, if one has room and the request has time left; nobody waits for it.
    pub(super) fn mirror(
        &self,
        routed: &Routed,
        shadow: &Arc<LoadedVersion>,
        at: Option<Timestamp>,
        completed: RecordBatch,
    ) {
        let (Some(model), Some(active)) = (shadow.model.to_rows(), &routed.rollout) else { return };
        let (active, clock) = (Arc::clone(active), Arc::clone(&self.clock));
        let sink = self.predictions.clone();
        let (request_id, name) = (Arc::clone(&routed.request_id), routed.entry.config.name.clone());
        let version = shadow.version;
        let (ambient, meter) = (Arc::new(self.ambient(routed)), Arc::clone(&self.meter));
        let work = move || {
            // Without time it has no chance: that says nothing about the candidate.
            let skipped = || meter.count(SHADOWS_SKIPPED, &[("model", name.as_str())], 1);
            if ambient.check().is_err() {
                return skipped();
            }
            let _here = Arc::clone(&ambient).enter();
            let begun = clock.monotonic();
            let outcome = guarded(|| predict_rows(&*model, &model.signature().project_inputs(&completed)?));
            if outcome.is_err() && ambient.check().is_err() {
                return skipped();
            }
            active.count(Variant::Canary, clock.monotonic().saturating_sub(begun), outcome.is_err());
            if let (Some(sink), Ok(outputs)) = (sink, outcome) {
                let at = at.unwrap_or_else(|| clock.now());
                let batch = PredictionBatch {
                    request_id,
                    model: name,
                    version,
                    variant: "shadow".into(),
                    propensity: None,
                    at,
                    inputs: completed,
                    outputs,
                };
                // A shed copy is counted by the sink.
                let _ = sink.append(batch);
            }
        };
        if self.executor.offer_detached(work).is_err() {
            self.meter.count(SHADOWS_SKIPPED, &[("model", routed.entry.config.name.as_str())], 1);
        }
    }
}
