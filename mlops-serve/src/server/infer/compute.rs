//! The prediction itself: where it was cheap lately at once, else on a worker, or on another server.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "remote")]
use arrow_array::RecordBatch;
use mlops_core::Result;

use super::Routed;
use crate::{
    ambient::Ambient,
    executor::{Ask, BatchPolicy, Close, Payload, Predicted, guarded},
    observe,
    repository::{Batching, LoadedVersion},
    server::Inner,
};
#[cfg(feature = "remote")]
use crate::{model::ServedModel, remote::RemoteModel};

impl Inner {
    /// Runs a prediction that is asked for `now`: inline when recent small calls of this version were cheap, else on a
    /// worker.
    pub(super) async fn compute(
        &self,
        routed: &Routed,
        rows: usize,
        inputs: Payload,
        now: Duration,
    ) -> Result<Payload> {
        let counters = &routed.version.counters;
        #[cfg(feature = "remote")]
        if let (ServedModel::Remote(model), Payload::Rows(batch)) = (&routed.version.model, &inputs) {
            return Box::pin(self.compute_there(routed, model, batch)).await;
        }
        let small = rows <= self.settings.inline_rows_max;
        let predicted = if small && counters.is_cheap(Duration::from_micros(self.settings.inline_below_us)) {
            self.compute_here(routed, rows, inputs, now)?
        } else {
            Box::pin(self.compute_on_worker(routed, rows, inputs)).await?
        };
        counters.queue.add(predicted.waited);
        counters.compute_infer.add(predicted.took);
        observe::note(|noted| (noted.queue, noted.compute) = (predicted.waited, predicted.took));
        if small {
            counters.small_call(predicted.took);
        }
        Ok(predicted.outputs)
    }

    /// Predicts on this thread, beginning now.
    fn compute_here(&self, routed: &Routed, rows: usize, inputs: Payload, begun: Duration) -> Result<Predicted> {
        let version = &routed.version;
        let predict = || guarded(|| version.predict(inputs));
        let (outputs, asked_elsewhere) = if version.model.may_ask_others() {
            self.ambient_at(routed, begun).alone(predict)
        } else {
            (predict(), false)
        };
        if asked_elsewhere {
            version.counters.asks_elsewhere();
        }
        let outputs = outputs?;
        let took = self.clock.monotonic().saturating_sub(begun);
        version.counters.executed(rows, took, Close::Inline);
        Ok(Predicted { outputs, waited: Duration::ZERO, took })
    }

    /// Lets a worker predict.
    async fn compute_on_worker(&self, routed: &Routed, rows: usize, inputs: Payload) -> Result<Predicted> {
        let version = &routed.version;
        let ambient = version.model.may_ask_others().then(|| Arc::new(self.ambient(routed)));
        let _waiting = ambient.as_ref().map(Ambient::waiting);
        let _asking = ambient.as_ref().map(|ambient| Asking { version, ambient: Arc::clone(ambient) });
        let Batching { rows_max, delay } = routed.batching;
        let policy = BatchPolicy { rows_max: if version.batches() { rows_max } else { 1 }, delay };
        let deadline = routed.started.saturating_add(routed.timeout);
        let ask = Ask { version, inputs, rows, policy, priority: routed.priority, deadline, ambient };
        self.executor.predict(ask).await
    }

    /// What a prediction knows of a request.
    pub(super) fn ambient(&self, routed: &Routed) -> Ambient {
        self.ambient_at(routed, self.clock.monotonic())
    }

    fn ambient_at(&self, routed: &Routed, now: Duration) -> Ambient {
        let spent = now.saturating_sub(routed.started);
        let ambient = Ambient::within(routed.timeout.saturating_sub(spent));
        #[cfg(feature = "remote")]
        let ambient = {
            let trace = observe::noted(|noted| noted.trace).flatten();
            ambient.named(trace, Arc::clone(&routed.request_id))
        };
        ambient
    }

    /// Lets another server predict, without a worker: the call only waits.
    #[cfg(feature = "remote")]
    async fn compute_there(&self, routed: &Routed, model: &RemoteModel, inputs: &RecordBatch) -> Result<Payload> {
        let begun = self.clock.monotonic();
        let outcome = model.predict_within(inputs, Arc::new(self.ambient(routed))).await;
        let took = self.clock.monotonic().saturating_sub(begun);
        let counters = &routed.version.counters;
        counters.executed(inputs.num_rows(), took, Close::Inline);
        counters.compute_infer.add(took);
        observe::note(|noted| noted.compute = took);
        outcome.map(Payload::Rows)
    }
}

/// Notes of a version that it asked another server, however the prediction ends: also when its time is over, or its caller
/// goes.
struct Asking<'a> {
    version: &'a LoadedVersion,
    ambient: Arc<Ambient>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.ambient.asked_elsewhere() {
            self.version.counters.asks_elsewhere();
        }
    }
}
