//! Dynamic batching: calls of one version that waited together share one prediction.
//!
//! Pull model: a batch is what waits when a worker becomes idle, so nobody waits for company. Invariant: every call
//! gets exactly the answer it would have got alone. When a shared prediction fails, its halves are tried apart until
//! the call at fault is alone with its error.

use std::{sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use arrow_select::concat::{concat, concat_batches};
use mlops_core::{Clock, Error, Result};
use tokio::sync::oneshot;

use super::guarded;
use crate::{
    repository::LoadedVersion,
    tensor::{Tensor, TensorType},
};

/// Which calls may share a prediction: same loaded version, same types and dimensions behind the rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    version: usize,
    tensors: Vec<(String, TensorType, Vec<usize>)>,
}

impl LaneKey {
    /// The key of a call; the address names the version, which the lane keeps alive.
    pub(super) fn new(version: &Arc<LoadedVersion>, payload: &Payload) -> Self {
        let tensors = match payload {
            Payload::Rows(_) => Vec::new(),
            Payload::Tensors(tensors) => tensors
                .iter()
                .map(|tensor| {
                    let dims = tensor.shape().iter().skip(1).copied().collect();
                    (tensor.name().to_owned(), tensor.data_type(), dims)
                })
                .collect(),
        };
        Self { version: Arc::as_ptr(version).addr(), tensors }
    }
}

/// What goes into a prediction, and what comes out.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// For models on record batches.
    Rows(RecordBatch),
    /// For models on raw tensors.
    Tensors(Vec<Tensor>),
}

/// An answer with where the time went.
#[derive(Debug)]
pub(crate) struct Predicted {
    pub(crate) outputs: Payload,
    /// In the queue.
    pub(crate) waited: Duration,
    /// In the model, for the whole batch.
    pub(crate) took: Duration,
}

/// A prediction that waits for a worker.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) inputs: Payload,
    pub(super) rows: usize,
    pub(super) queued_at: Duration,
    pub(super) reply: oneshot::Sender<Result<Predicted>>,
}

/// Why a batch took no more calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Close {
    /// One more would have been too many rows.
    Full,
    /// Nobody else waited.
    QueueEmpty,
    /// It was cheap enough to run at once, without queue.
    Inline,
}

impl Close {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::QueueEmpty => "queue_empty",
            Self::Inline => "inline",
        }
    }
}

/// Calls that share a prediction.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) version: Arc<LoadedVersion>,
    pub(super) calls: Vec<Call>,
    pub(super) closed_by: Close,
}

impl Batch {
    /// Answers every call whose caller still waits and whose time in the queue is not over.
    pub(super) fn run(mut self, clock: &dyn Clock, queue_timeout: Duration) {
        let begun = clock.monotonic();
        let calls = std::mem::take(&mut self.calls);
        for call in calls.into_iter().filter(|call| !call.reply.is_closed()) {
            let waited = begun.saturating_sub(call.queued_at);
            if waited > queue_timeout {
                // The caller may have gone meanwhile; nobody wants the answer then.
                let _ = call.reply.send(Err(overdue(waited)));
            } else {
                self.calls.push(call);
            }
        }
        let calls = std::mem::take(&mut self.calls);
        self.answer(calls, begun, clock);
    }

    fn answer(&self, calls: Vec<Call>, begun: Duration, clock: &dyn Clock) {
        let Some(first) = calls.first() else { return };
        let rows = calls.iter().map(|call| call.rows).sum();
        let started = clock.monotonic();
        let outcome = guarded(|| {
            let inputs = if calls.len() == 1 { first.inputs.clone() } else { merge(&calls)? };
            let outputs = self.version.predict(inputs)?;
            if calls.len() == 1 { Ok(vec![outputs]) } else { split(&outputs, &calls) }
        });
        let took = clock.monotonic().saturating_sub(started);
        self.version.counters.executed(rows, took, self.closed_by);
        match outcome {
            Ok(parts) => {
                for (call, outputs) in calls.into_iter().zip(parts) {
                    let waited = begun.saturating_sub(call.queued_at);
                    // The caller may have gone meanwhile.
                    let _ = call.reply.send(Ok(Predicted { outputs, waited, took }));
                }
            }
            Err(error) => self.answer_apart(calls, error, begun, clock),
        }
    }

    /// Finds the call at fault by halves: `2 log2(n)` more predictions for one bad call among `n`.
    fn answer_apart(&self, mut calls: Vec<Call>, error: Error, begun: Duration, clock: &dyn Clock) {
        if calls.len() > 1 {
            calls.retain(|call| !call.reply.is_closed());
            let back = calls.split_off(calls.len() / 2);
            self.answer(calls, begun, clock);
            self.answer(back, begun, clock);
        } else if let Some(call) = calls.pop() {
            // The caller may have gone meanwhile.
            let _ = call.reply.send(Err(error));
        }
    }
}

pub(super) fn overdue(waited: Duration) -> Error {
    Error::unavailable(format!("waited {} ms for a worker; the server is overloaded", waited.as_millis()))
}

fn mixed() -> Error {
    Error::internal("a batch mixes rows and tensors")
}

fn merge(calls: &[Call]) -> Result<Payload> {
    match calls.first().map(|call| &call.inputs) {
        Some(Payload::Rows(first)) => {
            let batches = calls.iter().map(|call| match &call.inputs {
                Payload::Rows(batch) => Ok(batch),
                Payload::Tensors(_) => Err(mixed()),
            });
            let batches = batches.collect::<Result<Vec<_>>>()?;
            Ok(Payload::Rows(concat_batches(&first.schema(), batches)?))
        }
        Some(Payload::Tensors(first)) => {
            let merged = (0..first.len()).map(|index| merge_tensor(calls, index)).collect::<Result<Vec<_>>>()?;
            Ok(Payload::Tensors(merged))
        }
        None => Err(Error::internal("a batch is empty")),
    }
}

fn merge_tensor(calls: &[Call], index: usize) -> Result<Tensor> {
    let parts = calls.iter().map(|call| match &call.inputs {
        Payload::Tensors(tensors) => tensors.get(index).ok_or_else(mixed),
        Payload::Rows(_) => Err(mixed()),
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let first = parts.first().ok_or_else(mixed)?;
    let values: Vec<&dyn arrow_array::Array> = parts.iter().map(|part| part.values().as_ref()).collect();
    let rows = parts.iter().map(|part| part.rows()).sum();
    let shape: Vec<usize> = std::iter::once(rows).chain(first.shape().iter().skip(1).copied()).collect();
    Tensor::new(first.name(), first.data_type(), shape, concat(&values)?)
}

/// The rows of each call, without copying.
fn split(outputs: &Payload, calls: &[Call]) -> Result<Vec<Payload>> {
    let mut from = 0;
    calls
        .iter()
        .map(|call| {
            let offset = from;
            from += call.rows;
            match outputs {
                Payload::Rows(batch) => Ok(Payload::Rows(batch.slice(offset, call.rows))),
                Payload::Tensors(tensors) => {
                    let parts = tensors.iter().map(|tensor| tensor.slice_rows(offset, call.rows));
                    Ok(Payload::Tensors(parts.collect::<Result<Vec<_>>>()?))
                }
            }
        })
        .collect()
}
