//! The answer within its time, and what is counted of it.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use arrow_array::RecordBatch;
use mlops_core::{Error, ErrorKind, Result};

use super::{InferReply, Routed};
use crate::{
    executor::Payload,
    features::common_time,
    metrics::Failed,
    observe,
    server::{Inner, arm::Chosen},
    tensor::Tensor,
};

/// Counts a request whose caller went away before the answer.
struct Unanswered<'a> {
    inner: &'a Inner,
    routed: &'a Routed,
    armed: bool,
}

impl Unanswered<'_> {
    fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.armed {
            let took = self.inner.clock.monotonic().saturating_sub(self.routed.started);
            let counters = &self.routed.version.counters;
            counters.failed(Failed::Cancelled, took);
            counters.ended(self.routed.variant, ErrorKind::Cancelled.http_status(), took);
        }
    }
}

impl Inner {
    /// Keeps the deadline and counts the outcome.
    pub(super) async fn answer<T>(
        &self,
        routed: &Routed,
        rows: usize,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut unanswered = Unanswered { inner: self, routed, armed: true };
        let mut work = pin!(work);
        // What is predicted at once needs no timer.
        let answered = match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            Poll::Ready(outcome) => Ok(outcome),
            Poll::Pending => {
                let spent = self.clock.monotonic().saturating_sub(routed.started);
                // Of its own: most predictions need none.
                Box::pin(tokio::time::timeout(routed.timeout.saturating_sub(spent), work)).await
            }
        };
        let took = self.clock.monotonic().saturating_sub(routed.started);
        let outcome = match answered {
            // An answer and the end of its time may come together, and then the timer lets the answer through.
            Ok(outcome) if took <= routed.timeout || outcome.is_err() => outcome,
            _ => Err(Error::deadline_exceeded(format!(
                "model \"{}\" did not answer within {} ms",
                routed.entry.config.name,
                routed.timeout.as_millis()
            ))),
        };
        unanswered.disarm();
        match &outcome {
            Ok(_) => routed.version.counters.answered(rows, took, self.clock.now()),
            Err(error) => routed.version.counters.failed(Failed::of(error), took),
        }
        observe::note(|noted| {
            noted.answered_by = Some((routed.entry.config.name.clone(), routed.version.version, routed.variant));
            noted.rows = rows;
        });
        self.measure(routed, took, outcome.as_ref().err());
        outcome
    }

    fn measure(&self, routed: &Routed, took: Duration, error: Option<&Error>) {
        let code = error.map_or(200, |error| error.kind().http_status());
        routed.version.counters.ended(routed.variant, code, took);
        if let Some(meter) = &self.measured {
            let (model, version) = (routed.entry.config.name.as_str(), routed.version.version.to_string());
            let (labels, code) = ([("model", model), ("version", version.as_str())], code.to_string());
            let [model_label, version_label] = labels;
            meter.count("mlops_serve_requests_total", &[model_label, version_label, ("code", code.as_str())], 1);
            meter.observe("mlops_serve_request_seconds", &labels, took.as_secs_f64());
            if error.is_some_and(|error| error.kind() == ErrorKind::ResourceExhausted) {
                meter.count("mlops_serve_queue_rejections_total", &[("model", model)], 1);
            }
            meter.gauge("mlops_serve_queue_depth", &[], self.executor.waiting().0 as f64);
        }
        // A full queue or a client that is wrong says nothing about the arm.
        let fault = |kind| !matches!(kind, ErrorKind::ResourceExhausted | ErrorKind::Cancelled);
        if let Some(active) = routed.rollout.as_ref().filter(|_| error.is_none_or(|error| fault(error.kind()))) {
            active.count(routed.variant, took, error.is_some());
            if error.is_none() {
                let chosen = Chosen { variant: routed.variant, propensity: routed.propensity };
                active.expect_outcome(&routed.request_id, &chosen, &routed.context);
            }
        }
    }

    pub(super) async fn answer_rows(&self, routed: &Routed, sent: RecordBatch) -> Result<InferReply> {
        let model = routed.model()?;
        let begun = self.clock.monotonic();
        let (completed, at) = match &routed.entry.config.features {
            Some(lookup) => {
                let time = lookup.as_of.as_deref().and_then(|name| common_time(sent.column_by_name(name)?));
                (Box::pin(lookup.complete(&sent, model.signature(), self.clock.now())).await?, time)
            }
            None => (sent, None),
        };
        let inputs = model.signature().project_inputs(&completed)?;
        let ready = self.clock.monotonic();
        routed.version.counters.compute_input.add(ready.saturating_sub(begun));
        let rows = inputs.num_rows();
        let Payload::Rows(outputs) = self.compute(routed, rows, Payload::Rows(inputs), ready).await? else {
            return Err(Error::internal("a model on rows answered raw tensors"));
        };
        if let Some(shadow) = &routed.shadow {
            self.mirror(routed, shadow, at, completed.clone());
        }
        self.log(routed, at, completed, &outputs);
        let (version, variant, propensity) = (routed.version.version, routed.variant, routed.propensity);
        Ok(InferReply { outputs, version, variant, propensity, request_id: Arc::clone(&routed.request_id) })
    }

    pub(super) async fn answer_tensors(
        &self,
        routed: &Routed,
        mut tensors: Vec<Tensor>,
        rows: usize,
    ) -> Result<Vec<Tensor>> {
        let place = |tensor: &Tensor| routed.version.inputs.iter().position(|info| info.name == tensor.name());
        tensors.sort_by_key(place);
        let ready = self.clock.monotonic();
        let Payload::Tensors(outputs) = self.compute(routed, rows, Payload::Tensors(tensors), ready).await? else {
            return Err(Error::internal("a model on raw tensors answered rows"));
        };
        Ok(outputs)
    }
}
